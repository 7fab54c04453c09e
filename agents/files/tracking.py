"""Weights & Biases: one thin layer, so that runs log the same way online, offline and not at all."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

WandbMode = Literal["offline", "online", "disabled"]
PROJECT = "wdmoe-gym"
Logged = TypeVar("Logged")


class TrackingError(Exception):
    """Weights & Biases is missing or does not start; the message says what to do."""


class Tracker(Protocol):
    """Where a run's numbers, pictures and files go."""

    run_id: str | None

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Log scalars at an explicit step."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table."""

    def images(self, pictures: Mapping[str, Path]) -> None:
        """Log pictures by name."""

    def artifact(self, path: Path, name: str, kind: str) -> None:
        """Log a file or a folder as an artifact."""

    def finish(self, failed: bool = False) -> str | None:
        """End the run; return the command that uploads it, if it is offline."""


class NoTracker:
    """Logs nothing."""

    run_id: str | None = None

    def log(self, values: Mapping[str, Any], step: int) -> None: ...
    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None: ...
    def images(self, pictures: Mapping[str, Path]) -> None: ...
    def artifact(self, path: Path, name: str, kind: str) -> None: ...
    def finish(self, failed: bool = False) -> str | None:
        return None


class Guarded:
    """Logs through another tracker; what fails there is told once to `warn` and undoes nothing."""

    def __init__(self, tracker: Tracker, warn: Callable[[str], None]) -> None:
        self._tracker, self._warn, self._told = tracker, warn, set[str]()
        self.run_id = tracker.run_id

    def log(self, values: Mapping[str, Any], step: int) -> None:
        self._try("numbers", lambda: self._tracker.log(values, step))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self._try("a table", lambda: self._tracker.table(name, columns, rows))

    def images(self, pictures: Mapping[str, Path]) -> None:
        self._try("pictures", lambda: self._tracker.images(pictures))

    def artifact(self, path: Path, name: str, kind: str) -> None:
        self._try(f"artifact {name}", lambda: self._tracker.artifact(path, name, kind))

    def finish(self, failed: bool = False) -> str | None:
        return self._try("the end of the run", lambda: self._tracker.finish(failed))

    def _try(self, what: str, log: Callable[[], Logged]) -> Logged | None:
        try:
            return log()
        except Exception as error:
            if what not in self._told:
                reason = str(error).partition("\n")[0] or type(error).__name__
                self._warn(f"Weights & Biases did not log {what}: {reason}; nothing else is lost")
                self._told.add(what)
        return None


class WandbTracker:
    """Logs to Weights & Biases."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self.run_id: str | None = run.id
        # An own step metric: W&B drops what comes with a smaller step than before, as happens after a resume.
        run.define_metric("timesteps")
        run.define_metric("*", step_metric="timesteps")

    def log(self, values: Mapping[str, Any], step: int) -> None:
        self._run.log({**values, "timesteps": step})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        import wandb

        self._run.log({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows])})

    def images(self, pictures: Mapping[str, Path]) -> None:
        import wandb

        self._run.log({name: wandb.Image(str(path)) for name, path in pictures.items()})

    def artifact(self, path: Path, name: str, kind: str) -> None:
        import wandb

        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", name, flags=re.ASCII), type=kind)
        artifact.add_dir(str(path)) if path.is_dir() else artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def finish(self, failed: bool = False) -> str | None:
        offline, folder = self._run.settings.mode == "offline", Path(self._run.dir).parent
        self._run.finish(exit_code=1 if failed else 0)
        if not offline:
            return None
        # A run that was resumed has a folder for each time.
        parts = sorted(str(path) for path in folder.parent.glob(f"offline-run-*-{self.run_id}"))
        return shlex.join(["wandb", "sync", *(parts or [str(folder)])])


def start_run(
    mode: WandbMode,
    warn: Callable[[str], None],
    *,
    config: Mapping[str, Any],
    run_dir: Path,
    job_type: str,
    project: str = PROJECT,
    run_id: str | None = None,
    name: str | None = None,
) -> Tracker:
    """Start a run, or go on with `run_id`; `disabled` needs no wandb. Once it runs, what fails is told to `warn`.

    Raises:
        TrackingError: wandb is not installed, nobody is logged in, or the directory cannot be written.
    """
    if mode == "disabled":
        return NoTracker()
    try:
        import wandb
    except ModuleNotFoundError as error:
        raise TrackingError("wandb is not installed: pip install wandb, or choose --wandb disabled") from error
    # It takes this folder `agents` for a package of that name, and advertises.
    os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")
    # Offline there is nothing to see but the command that uploads, which `finish` returns.
    settings = wandb.Settings(silent=mode == "offline", console="off")
    try:
        wandb.setup(settings)
        run = wandb.init(
            project=project,
            mode=mode,
            dir=str(run_dir),
            config=dict(config),
            job_type=job_type,
            id=run_id,
            name=name,
            resume="allow" if run_id else None,
            settings=settings,
        )
    except (wandb.Error, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise TrackingError(
            f"Weights & Biases did not start: {reason} Run `wandb login`, or choose --wandb offline or disabled"
        ) from error
    return Guarded(WandbTracker(run), warn)
