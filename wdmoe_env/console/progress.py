"""Progress bars: of one training run, and of several side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

REFRESH_S = 0.1
"""Seconds between two looks of a bar that no thread draws."""
SAY_EVERY_S = 60.0
"""Seconds between lines about runs, where there is no terminal to draw bars in."""


def best_text(reward: float | None) -> str:
    """The best validation reward so far, in words."""
    return "" if reward is None else f"best validation reward {reward:.4f}"


def _progress(console: Console, disable: bool = False) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    note = TextColumn("{task.fields[note]}")
    # A step may take a second: the estimate of what remains looks back over some minutes.
    return Progress(*columns, note, console=console, disable=disable, speed_estimate_period=180)


class ProgressBar:
    """Steps done of steps planned, the time that remains, and a note."""

    def __init__(self, console: Console, name: str, total: int) -> None:
        self._progress = _progress(console)
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


@contextmanager
def counting(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """A bar that moves on by one with each call, which says what is being done, and that is gone at the end.

    The caller draws it: a thread that does would disturb what is being timed.
    """
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        task, drawn = progress.add_task("starting", total=total), monotonic()

        def tick(what: str) -> None:
            nonlocal drawn
            progress.update(task, advance=1, description=escape(what))
            if monotonic() - drawn > REFRESH_S:
                progress.refresh()
                drawn = monotonic()

        yield tick


class ProgressRows:
    """A bar for each of several runs; a plain line for each now and then where the console is no terminal.

    Args:
        console: where they are drawn.
        names: of the runs.
        total: what each does in all.
        unit: what that is counted in, in the plural.
    """

    def __init__(self, console: Console, names: Iterable[str], total: int, unit: str = "steps") -> None:
        self._console, self._of_total = console, f"of {total:,} {unit}"
        self._progress = _progress(console, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {
            name: self._progress.add_task(escape(name), total=total, start=False, note="waiting") for name in names
        }
        self._said = dict.fromkeys(self._tasks, monotonic())

    def start(self, name: str, done: int) -> None:
        """A run starts, with steps that were done before."""
        self._progress.update(self._tasks[name], completed=done, note="")
        self._progress.start_task(self._tasks[name])

    def show(self, name: str, done: int, note: str) -> None:
        """Move a bar."""
        self._progress.update(self._tasks[name], completed=done, note=note)
        if not self._console.is_terminal and monotonic() - self._said[name] > SAY_EVERY_S:
            self._said[name] = monotonic()
            self.say(f"{name}: {done:,} {self._of_total}; {note}")

    def end(self, name: str, done: int, note: str) -> None:
        """A run has ended."""
        self._progress.update(self._tasks[name], completed=done, note=note)
        self._progress.stop_task(self._tasks[name])
        self.say(f"{name}: {done:,} {self._of_total}; {note}")

    def say(self, text: str) -> None:
        """Print a line, above the bars."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> ProgressRows:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
