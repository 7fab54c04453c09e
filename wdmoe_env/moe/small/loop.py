"""The loop around the trainer: progress, looks at validation texts, checkpoints, and stopping when asked."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from wdmoe_env.moe.small.model import losses, tokens
from wdmoe_env.moe.small.trainer import Trainer, save_checkpoint

LOOK = 65_536
"""About so many bytes of the validation texts are looked at."""
SAY_EVERY_S = 60.0
"""Seconds between lines, where there is no terminal to draw a bar in."""


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

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint."""
        content = {"identity": self.identity, "history": self.history, "seconds": self.seconds}
        save_checkpoint(self.path, {**content, "trainer": trainer.state()})


def train(trainer: Trainer, run: Run, console: Console) -> int:
    """Train to the end or until asked to stop, and save; returns 0, or the exit status that the signal asks for."""
    steps, recent = trainer.plan.steps, 0.0
    windows = _windows(run.validation, trainer.architecture.context)
    with _listening() as asked, _Bar(console, steps) as bar:
        bar.show(trainer.done, _note(run))
        while trainer.done < steps and not asked:
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
            bar.show(trainer.done, _note(run, recent))
        run.save(trainer)
    return 128 + signal.Signals[asked[0]] if asked else 0


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


class _Bar:
    """A progress bar; a plain line now and then where the console is no terminal."""

    def __init__(self, console: Console, steps: int) -> None:
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        note = TextColumn("{task.fields[note]}")
        # A step takes about half a second: the estimate looks back over some minutes.
        self._progress = Progress(
            *columns, note, console=console, disable=not console.is_terminal, speed_estimate_period=180
        )
        self._console, self._steps, self._said = console, steps, time.monotonic()
        self._task: TaskID = self._progress.add_task("", total=steps, note="")

    def show(self, done: int, note: str) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, note=note)
        late = time.monotonic() - self._said > SAY_EVERY_S
        if not self._console.is_terminal and (late or done == self._steps):
            self._said = time.monotonic()
            self._console.print(f"{done:,} of {self._steps:,} updates; {note}", highlight=False, soft_wrap=True)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


@contextmanager
def _listening() -> Iterator[list[str]]:
    """A list that Ctrl-C and SIGTERM put their name in; a second one interrupts at once."""
    asked: list[str] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(signal.Signals(number).name)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
