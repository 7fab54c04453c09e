"""Train several runs in a pool of other machines' processes; what they bring is written here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from agents.files.run_dir import RunDir
from agents.training import moving
from agents.training.side_by_side import LAST_LINES, STOPPED
from wdmoe_env.console.progress import ProgressRows, best_text
from wdmoe_env.console.stop import Stop
from wdmoe_env.files.atomic import write_bytes
from wdmoe_env.files.safe import StorageError
from wdmoe_env.workers.units import TRIES, Event, Pool, Unit

LOOK_S = 0.5


class OnPool:
    """Runs that stand in their directories here, trained by a pool.

    A run whose process or node dies goes on elsewhere, from the last checkpoint that was told.

    Args:
        runs: what is trained.
        logs: folder of what their processes print.
        pool: where.
        total: steps of a run.
        console: where progress is shown.
        shared: whether a run is trained in its directory wherever that can be seen; else it is always carried.

    Attributes:
        failed: names of runs that ended with an error.
        stopped: names of runs that were asked to stop before their end.
    """

    def __init__(
        self, runs: Sequence[RunDir], logs: Path, pool: Pool, total: int, console: Console, shared: bool = True
    ) -> None:
        self.failed: list[str] = []
        self.stopped: list[str] = []
        self._runs = {run.name: run for run in runs}
        self._pool, self._logs, self._shared = pool, logs, shared
        self._left, self._lost = set(self._runs), dict.fromkeys(self._runs, 0)
        self._before = {name: self._log(name).read_bytes() for name in self._runs if self._log(name).exists()}
        self._started, self._asked = set[str](), False
        self._rows = ProgressRows(console, list(self._runs), total)

    def train(self) -> int:
        """Train all to their end, or until asked to stop. Returns the exit status, 0 only if all are finished.

        Raises:
            PoolError: the pool is lost; what was brought before is kept.
        """
        with Stop().listening() as stop, self._rows:
            for name in self._runs:
                self._start(name)
            while self._left:
                for event in self._pool.events(LOOK_S):
                    self._see(event)
                self._forward(stop)
            return (stop.status or 1) if self.failed or self.stopped else 0

    def _start(self, name: str) -> None:
        arguments = moving.packed(self._runs[name]), self._shared
        self._pool.start(Unit(name, moving.train, arguments, talks=True))

    def _forward(self, stop: Stop) -> None:
        if stop.reason is None or self._asked:
            return
        self._asked = True
        self._rows.say(f"{stop.reason}: runs finish their update and save a checkpoint; Ctrl-C now ends them at once")
        waiting = self._pool.stop(stop.reason)
        self.stopped += waiting
        self._left -= set(waiting)

    def _see(self, event: Event) -> None:
        name = event.unit
        if event.kind == "told":
            self._keep(name, event.value)
            self._show(name)
        elif event.kind == "done":
            status, progress = event.value
            self._keep(name, progress)
            self._end(name, status)
        elif event.kind == "lost":
            self._lose(name)
        elif event.kind == "failed":
            self._keep(name, moving.Progress({}, event.value.trace.encode()))
            self._fail(name, f"on {event.value.place}")

    def _keep(self, name: str, progress: moving.Progress) -> None:
        """Write what a run has brought."""
        moving.write(self._runs[name].path, progress.files)
        try:
            self._logs.mkdir(exist_ok=True)
            write_bytes(self._log(name), self._before.get(name, b"") + progress.printed)
        except OSError as error:
            raise StorageError(f"{self._log(name)} cannot be written: {error.strerror}") from error

    def _show(self, name: str) -> None:
        run = self._runs[name]
        if name not in self._started:
            self._started.add(name)
            self._rows.start(name, run.steps())
        self._rows.show(name, run.steps(), best_text(run.best_reward()))

    def _end(self, name: str, status: int) -> None:
        run, note = self._runs[name], best_text(self._runs[name].best_reward())
        if status == 0:
            self._rows.end(name, run.steps(), f"finished; {note}")
        elif self._asked and status in STOPPED:
            self.stopped.append(name)
            self._rows.end(name, run.steps(), f"stopped; {note}")
        else:
            self._fail(name, f"with status {status}")
        self._left.discard(name)

    def _fail(self, name: str, how: str) -> None:
        self.failed.append(name)
        self._left.discard(name)
        run, log = self._runs[name], self._log(name)
        self._rows.end(name, run.steps(), f"failed {how}; settings: {run.path / 'config.json'}; the end of {log}:")
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        for line in [line for line in lines if line.strip()][-LAST_LINES:]:
            self._rows.say(f"    {line}")

    def _lose(self, name: str) -> None:
        """Go on elsewhere, with what was brought here before."""
        self._lost[name] += 1
        if self._log(name).exists():
            self._before[name] = self._log(name).read_bytes()
        if self._asked:
            self.stopped.append(name)
            self._left.discard(name)
        elif self._lost[name] == TRIES:
            self._fail(name, f"as its process was lost {TRIES} times")
        else:
            self._rows.say(f"{name}: its process is lost; it goes on elsewhere from {self._runs[name].steps():,} steps")
            self._start(name)

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"
