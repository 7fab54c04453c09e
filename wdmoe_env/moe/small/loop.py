"""The loop around the trainer: progress, looks at validation texts, checkpoints, and stopping when asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from wdmoe_env.console.progress import ProgressRows
from wdmoe_env.console.stop import Stop
from wdmoe_env.files.safe import StorageError
from wdmoe_env.moe.small.checkpoint import load_checkpoint, save_checkpoint
from wdmoe_env.moe.small.model import losses, tokens
from wdmoe_env.moe.small.trainer import LanguageModelTrainer

LOOK = 65_536
"""About so many bytes of the validation texts are looked at."""
LOOKED = ("update", "train", "validation")
MAX_HISTORY_BYTES = 2**28
NAME = "training"
"""What the progress bar says."""


@dataclass
class Run:
    """A run of training.

    Attributes:
        path: its checkpoint.
        identity: the settings that it keeps to.
        validation: texts to look at.
        validate_every: updates between looks.
        checkpoint_every: updates between checkpoints.
        history: update, and bits per byte of recent batches and of the validation texts, at each look.
        seconds: time that training took so far, all sittings together.
    """

    path: Path
    identity: dict[str, Any]
    validation: Sequence[bytes]
    validate_every: int
    checkpoint_every: int
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def save(self, trainer: LanguageModelTrainer) -> None:
        """Write a checkpoint; a StorageError leaves the one before as it was."""
        # An array: as text, looks after every update would outgrow what is read.
        history = np.array([[row[name] for name in LOOKED] for row in self.history]).reshape(-1, len(LOOKED))
        content = {"identity": self.identity, "history": history, "seconds": self.seconds}
        save_checkpoint(self.path, {**content, "trainer": trainer.state()})

    def restore(self, trainer: LanguageModelTrainer) -> None:
        """Go on from the checkpoint.

        Raises:
            StorageError: it is broken, or one of another model.
        """
        found = load_checkpoint(self.path, trainer.most_bytes() + MAX_HISTORY_BYTES)
        try:
            looks, self.seconds = np.asarray(found["history"]), float(found["seconds"])
            self.history = [
                {LOOKED[0]: int(row[0]), **dict(zip(LOOKED[1:], row[1:], strict=True))} for row in looks.tolist()
            ]
            trainer.restore(found["trainer"])
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise StorageError(f"{self.path} does not fit the run: {error}") from error


def train(trainer: LanguageModelTrainer, run: Run, console: Console) -> int:
    """Train to the end or until asked to stop, and save; returns 0, or the exit status that the signal asks for."""
    steps, recent = trainer.schedule.steps, 0.0
    windows = _windows(run.validation, trainer.architecture.context)
    with Stop().listening() as stop, ProgressRows(console, [NAME], steps, "updates") as rows:
        rows.start(NAME, trainer.done)
        rows.show(NAME, trainer.done, _note(run))
        while trainer.done < steps and stop.reason is None:
            started = time.monotonic()
            bits = trainer.step()
            recent = 0.95 * recent + 0.05 * bits if recent else bits
            if trainer.done % run.validate_every == 0 or trainer.done == steps:
                run.history.append(
                    {"update": trainer.done, "train": recent, "validation": _look(trainer.model, windows)}
                )
            run.seconds += time.monotonic() - started
            if trainer.done % run.checkpoint_every == 0 and trainer.done < steps:
                run.save(trainer)
            rows.show(NAME, trainer.done, _note(run, recent))
        run.save(trainer)
        rows.end(NAME, trainer.done, _note(run, recent))
    return stop.status


def _windows(texts: Sequence[bytes], context: int) -> torch.Tensor:
    """Windows from all over the texts, none overlapping another: (W, context + 1)."""
    stream = torch.cat([tokens(text) for text in texts])
    if len(stream) <= context:
        return stream[None]
    rows = stream[: len(stream) // (context + 1) * (context + 1)].view(-1, context + 1)
    return rows[:: max(1, rows.numel() // LOOK)]


@torch.inference_mode()
def _look(model: Any, windows: torch.Tensor) -> float:
    """Bits per token of windows that start without anything before them: a little more than `score` finds."""
    model.eval()
    found = torch.cat([losses(model, part).flatten() for part in torch.split(windows, 16)])
    model.train()
    return float(found.double().mean()) / log(2)


def _note(run: Run, recent: float = 0.0) -> str:
    parts = [f"{recent:.3f} bits/byte"] if recent else []
    return ", ".join(parts + [f"validation {run.history[-1]['validation']:.3f}" for _ in run.history[-1:]])
