"""Bars where there is a terminal, plain lines where there is none, and stopping when asked."""

from __future__ import annotations

import io
import signal
import threading

import pytest
from rich.console import Console

from wdmoe_env.console import progress
from wdmoe_env.console import stop as stopping
from wdmoe_env.console.progress import ProgressRows, counting
from wdmoe_env.console.stop import Stop, TerminatedError, interrupted_by_signals


def pipe() -> Console:
    return Console(file=io.StringIO(), width=200)


def terminal() -> Console:
    return Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_lines_are_said_now_and_then_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    console, now = pipe(), 0.0
    monkeypatch.setattr(progress, "monotonic", lambda: now)
    with ProgressRows(console, ["training"], 3000, "updates") as rows:
        rows.start("training", 0)
        rows.show("training", 1000, "early")
        now = 61.0
        rows.show("training", 2000, "later")
        rows.show("training", 2001, "too soon again")
        rows.end("training", 3000, "done")
    assert text(console).splitlines() == [
        "training: 2,000 of 3,000 updates; later",
        "training: 3,000 of 3,000 updates; done",
    ]


def test_a_counting_bar_shows_what_is_done_and_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "REFRESH_S", -1.0)
    console = terminal()
    with counting(console, 2) as tick:
        tick("paper: [mine]")
        assert "paper: [mine]" in text(console)
        assert "1/2" in text(console)
        tick("paper: top-k")
    # What is written after the last look clears the line.
    assert "\x1b[2K" in text(console).rpartition("2/2")[2]


def test_a_counting_bar_is_drawn_by_no_thread() -> None:
    before = threading.active_count()
    with counting(terminal(), 2):
        assert threading.active_count() == before


@pytest.mark.parametrize(("number", "status"), [(number, 128 + number) for number in stopping.ASKED_BY])
def test_a_signal_asks_and_ctrl_c_later_interrupts(
    number: signal.Signals, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = signal.getsignal(number)
    with Stop().listening() as stop:
        assert (stop.reason, stop.status) == (None, 0)
        signal.raise_signal(number)
        assert (stop.reason, stop.status) == (number.name, status)
        # Sent to every process and by the parent: one request. And nobody at a keyboard sends the others.
        for again in stopping.ASKED_BY:
            signal.raise_signal(again)
        monkeypatch.setattr(stopping, "TOGETHER_S", 0.0)
        for again in stopping.ASKED_BY[1:]:
            signal.raise_signal(again)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert stop.reason == number.name
    assert signal.getsignal(number) is ours


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop().listening() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert stop.reason is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def terminate(plain: bool) -> None:
    """Raise SIGTERM; `plain`: within a library that makes a plain interrupt of it."""
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        if plain:
            raise KeyboardInterrupt from None
        raise


@pytest.mark.parametrize("plain", [False, True])
def test_sigterm_interrupts_and_says_so(plain: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TerminatedError, match="SIGTERM") as caught, interrupted_by_signals():
        terminate(plain)
    assert caught.value.status == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_stays_what_it_is() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, interrupted_by_signals():
        raise KeyboardInterrupt
    assert not isinstance(caught.value, TerminatedError)
