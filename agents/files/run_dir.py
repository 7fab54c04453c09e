"""The run directory: everything one training run leaves behind.

config.json           resolved scenario and hyperparameters, versions, git revision, seeds, command
metrics.csv           training metrics after each update
evaluations.csv       evaluations on validation episodes, which training never sees
checkpoints/000…/     full states, the last two: state.safetensors and state.json
best/                 the policy of the best evaluation: policy.safetensors and policy.json
wandb/                what Weights & Biases keeps
.config.json.lock     held while a process trains here
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from agents.files.table import append_row, count_rows, keep_rows, last_number, numbers
from wdmoe_env.files.atomic import tidy, write_text
from wdmoe_env.files.lock import locked
from wdmoe_env.files.safe import StorageError, read_json
from wdmoe_env.files.tensors import load_folder, save_folder
from wdmoe_env.settings.contents import FILES, kept_files

CONFIG, METRICS, EVALUATIONS = "config.json", "metrics.csv", "evaluations.csv"
SEEDS, SWEEP = "seeds.json", "sweep.json"
"""What a folder of runs has in the place of `CONFIG`, see `agents.training.seeds` and `agents.training.sweep`."""
STEM = "state"
KEPT_CHECKPOINTS = 2


class RunDir:
    """A run directory on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.path.resolve().name

    @contextmanager
    def claimed(self, file: str = CONFIG) -> Iterator[None]:
        """Hold the directory, which is made where there is none, as long as the context lasts.

        Raises:
            StorageError: another process holds it, or it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"run directory {self.path} cannot be written: {error.strerror}") from error
        with locked(self.path / file):
            yield

    def create(self, config: Mapping[str, Any], file: str = CONFIG) -> None:
        """Start the directory with the file that says what for; whoever may not be alone claims it before.

        Raises:
            StorageError: it is already used, or cannot be written.
        """
        self.check_unused()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if kept := kept_files(config.get("scenario", {}), self.path):
                config = {**config, FILES: kept}
            write_text(self.path / file, json.dumps(config, indent=1))
        except OSError as error:
            raise StorageError(f"run directory {self.path} cannot be written: {error.strerror}") from error

    def check_unused(self) -> None:
        """Raise a StorageError if the directory holds something already, or cannot be looked at."""
        path = self.path
        try:
            # A process that was killed before there was anything leaves at most a part of its first file, and a lock.
            used = path.exists() and (not path.is_dir() or any(not _is_left_over(entry) for entry in path.iterdir()))
        except OSError as error:
            raise StorageError(f"run directory {path} cannot be written: {error.strerror}") from error
        if used:
            resumable = any((path / name).is_file() for name in (CONFIG, SEEDS, SWEEP))
            advice = f", or go on with --resume {path}" if resumable else ""
            raise StorageError(f"run directory {path} is already used: choose another{advice}")

    def discard(self) -> None:
        """Remove a directory that `create` made, in which nothing was trained yet."""
        shutil.rmtree(self.path, ignore_errors=True)

    def config(self) -> dict[str, Any]:
        """What the run was started with.

        Raises:
            StorageError: there is no run here, or its configuration is broken.
        """
        return read_config(self.path / CONFIG)

    def finished(self) -> bool:
        """Whether the newest checkpoint is the run's end; no, where it cannot be read."""
        try:
            return any(read_json(newest / f"{STEM}.json").get("finished") is True for newest in self.checkpoints()[-1:])
        except StorageError:
            return False

    def steps(self) -> int:
        """Steps of the last update, as the tables tell while somebody trains here."""
        return int(last_number(self.path / METRICS))

    def best_reward(self) -> float | None:
        """Best validation reward so far."""
        return max(numbers(self.path / EVALUATIONS, "reward"), default=None)

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(path for path in (self.path / "checkpoints").glob("[0-9]*") if path.is_dir())

    def save_checkpoint(self, step: int, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Save a checkpoint, and how long the tables are; then drop all but the newest.

        Raises:
            StorageError: it could not be written; the checkpoints before are intact.
        """
        rows = {name: count_rows(self.path / name) for name in (METRICS, EVALUATIONS)}
        save_folder(self.path / "checkpoints" / f"{step:012d}", STEM, tensors, {**data, "rows": rows})
        for old in self.checkpoints()[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old, ignore_errors=True)

    def load_checkpoint(self, most: int) -> tuple[Path, dict[str, Tensor], dict[str, Any]] | None:
        """Read the newest checkpoint: its folder, tensors and data; None where none was saved yet.

        The tensors' file may have `most` bytes.

        Raises:
            StorageError: it is broken; the message tells how to go on from the one before.
        """
        self._tidy()
        found = self.checkpoints()
        if not found:
            return None
        try:
            return found[-1], *load_folder(found[-1], STEM, most)
        except StorageError as error:
            before = found[-2].name if len(found) > 1 else "the start, as there is no older one"
            advice = f"delete {found[-1]} to go on from {before}"
            raise StorageError(f"{error}; {advice}") from error

    def _tidy(self) -> None:
        for parent in (self.path, self.path / "checkpoints"):
            try:
                tidy(parent)
            except OSError as error:
                raise StorageError(f"{parent} cannot be tidied: {error}") from error

    def append(self, table: str, row: Mapping[str, Any]) -> None:
        """Append a row to a table; a StorageError leaves it as it was."""
        append_row(self.path / table, row)

    def rewind(self, rows: Mapping[str, int]) -> None:
        """Drop rows that were written after the checkpoint, which a resumed run will write again.

        Raises:
            StorageError: a table has fewer rows than it had then, or cannot be written.
            ValueError: the numbers of rows are none.
        """
        if min(rows.values()) < 0:
            raise ValueError(f"rows are {dict(rows)}, expected at least 0")
        for name in (METRICS, EVALUATIONS):
            file, there = self.path / name, count_rows(self.path / name)
            if there < rows[name]:
                found = f"has {there} rows" if file.exists() else "is gone"
                raise StorageError(f"{file} {found}, expected the {rows[name]} of the checkpoint: put it back")
            try:
                keep_rows(file, rows[name])
            except OSError as error:
                raise StorageError(f"{file} cannot be written: {error.strerror}") from error


def read_config(path: Path) -> dict[str, Any]:
    """Read a file that says what was started.

    Raises:
        StorageError: it is missing or broken.
    """
    if not path.exists():
        raise StorageError(f"{path} cannot be read: No such file; expected the run directory of train.py")
    return read_json(path)


def _is_left_over(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix in (".part", ".lock")
