"""Stopping when asked: Ctrl-C and SIGTERM end training after the running update."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Set by Ctrl-C and SIGTERM: the running update is finished, a checkpoint is saved. A second one is immediate."""

    def __init__(self) -> None:
        self.reason: str | None = None

    @property
    def status(self) -> int:
        """The exit status that a shell expects of a process that this signal ended: 130 or 143; 0 without one."""
        return 0 if self.reason is None else 128 + signal.Signals[self.reason]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.reason is not None:
            raise KeyboardInterrupt
        self.reason = signal.Signals(number).name

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Listen for as long as the context lasts."""
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
