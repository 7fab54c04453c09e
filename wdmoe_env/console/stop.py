"""Stopping when asked: Ctrl-C, and what schedulers send, end training after the running update."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKED_BY = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C; `kill` and schedulers; a closed terminal; what schedulers can send some time before the end."""
TOGETHER_S = 1.0
"""Signals that come so close are one request: a scheduler sends to every process, and so does a parent to its own."""


class Stop:
    """Set by any of `ASKED_BY`: the running update is finished, a checkpoint is saved.

    Ctrl-C after that, by somebody who will not wait, is immediate; other signals only ask for the same again.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._asked = 0.0

    @property
    def status(self) -> int:
        """The exit status that a shell expects of a process that this signal ended, such as 143; 0 without one."""
        return 0 if self.reason is None else 128 + signal.Signals[self.reason]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.reason is None:
            self.reason, self._asked = signal.Signals(number).name, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() > self._asked + TOGETHER_S:
            raise KeyboardInterrupt

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Listen for as long as the context lasts. SIGHUP stays ignored where it is: under nohup."""
        before = {}
        for number in ASKED_BY:
            if signal.Signals(number).name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, self._ask)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class TerminatedError(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: what runs is cleared away, as after Ctrl-C; `status` is the exit status."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt as Ctrl-C does, for as long as the context lasts: nothing is left half done.

    In threads, which signals do not reach, and where SIGHUP is ignored, all stays as it is.
    """
    heard_of = list[int]()

    def interrupt(number: int, frame: FrameType | None) -> None:
        heard_of.append(number)
        raise TerminatedError(number)

    here = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if here and hasattr(signal, name)]
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    except KeyboardInterrupt as error:
        # A library that was called may have made a plain one of it.
        if heard_of and not isinstance(error, TerminatedError):
            raise TerminatedError(heard_of[0]) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
