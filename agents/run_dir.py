"""The run directory: everything one training run leaves behind.

config.json           resolved scenario and hyperparameters, versions, git revision, seeds, command
metrics.csv           training metrics after each update
evaluations.csv       evaluations on validation episodes, which training never sees
checkpoints/000…/     full states, the last two
best/                 the policy of the best evaluation: tensors.safetensors and data.json
wandb/                what Weights & Biases keeps
"""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agents.storage import StorageError, load_folder, save_folder

KEPT_CHECKPOINTS = 2
PACKAGES = ("gymnasium", "numpy", "scipy", "torch", "stable-baselines3", "wdmoe-env")


class RunDir:
    """A run directory on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any]) -> RunDir:
        """Start a directory.

        Raises:
            StorageError: it is already used, or cannot be written.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise StorageError(f"run directory {path} is already used: choose another, or go on with --resume {path}")
        try:
            path.mkdir(parents=True, exist_ok=True)
            _write_text(path / "config.json", json.dumps(config, indent=1))
        except OSError as error:
            raise StorageError(f"run directory {path} cannot be written: {error.strerror}") from error
        return cls(path)

    def config(self) -> dict[str, Any]:
        """What the run was started with.

        Raises:
            StorageError: there is no run here, or its configuration is broken.
        """
        path = self.path / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise StorageError(
                f"{path} cannot be read: {error.strerror}; expected the run directory of train.py"
            ) from error
        except ValueError as error:
            raise StorageError(f"{path} is broken: {error}") from error
        if not isinstance(config, dict):
            raise StorageError(f"{path} holds a {type(config).__name__}, expected a run's configuration")
        return config

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(path for path in (self.path / "checkpoints").glob("[0-9]*") if path.is_dir())

    def save_checkpoint(self, step: int, tensors: Mapping[str, Any], data: Mapping[str, Any]) -> Path:
        """Save a checkpoint, then drop all but the newest."""
        folder = self.path / "checkpoints" / f"{step:012d}"
        save_folder(folder, tensors, data)
        for old in self.checkpoints()[:-KEPT_CHECKPOINTS]:
            _remove(old)
        return folder

    def load_checkpoint(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read the newest checkpoint.

        Raises:
            StorageError: there is none, or it is broken; then the message tells how to go on from the one before.
        """
        found = self.checkpoints()
        if not found:
            raise StorageError(f"{self.path} holds no checkpoint to resume from")
        try:
            return load_folder(found[-1])
        except StorageError as error:
            advice = f"delete {found[-1]} to go on from {found[-2].name}" if len(found) > 1 else "there is no older one"
            raise StorageError(f"{error}; {advice}") from error

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Append a row to a CSV file; the first row decides the columns."""
        path = self.path / name
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row) if fresh else _columns(path), restval="", extrasaction="ignore")
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    def forget_after(self, step: int) -> None:
        """Drop CSV rows of steps that a resumed run will repeat."""
        for name in ("metrics.csv", "evaluations.csv"):
            path = self.path / name
            if not path.exists():
                continue
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines[1:] if line and float(line.split(",", 1)[0]) <= step]
            _write_text(path, "\n".join([lines[0], *kept]) + "\n")


def provenance() -> dict[str, Any]:
    """Versions, git revision and command of this process."""
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "git_revision": _git("rev-parse", "HEAD"),
        "git_modified": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "command": " ".join(sys.argv),
    }


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).parent
    try:
        done = subprocess.run(("git", *arguments), cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _columns(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file))


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
