"""The progress bar of a training run."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressBar:
    """Steps done of steps planned, the time that remains, and a note."""

    def __init__(self, console: Console, name: str, total: int) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._progress = Progress(*columns, TextColumn("{task.fields[note]}"), console=console)
        self._task = self._progress.add_task(escape(name), total=total, note="")

    def show(self, done: int, note: str) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, note=note)

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
