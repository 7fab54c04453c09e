"""Processes side by side, with a script in the place of train.py that needs no time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from support.run_files import text

from agents.plan.hyperparameters import told_section
from agents.plan.plan import Plan
from agents.training import seeds, side_by_side
from wdmoe_env.console import progress, stop

Make = Callable[..., Plan]
Fake = Callable[[str], None]
TABLES = r"""
run.joinpath("metrics.csv").write_text("timesteps\n96\n12")
run.joinpath("evaluations.csv").write_text("timesteps,reward\n0,1.5\n64,1.25\n128,9")
"""


@pytest.mark.slow
def test_a_seed_that_fails_is_named_and_the_others_go_on(
    make_plan: Make, tmp_path: Path, console: Console, fake: Fake
) -> None:
    fake(f"{TABLES}\nif seed == 1:\n    print(*range(7), sep='\\n')\n    sys.exit(3)")
    assert seeds.start(make_plan(), [0, 1, 2], tmp_path / "set", console, jobs=1) == 1
    log = tmp_path / "set/logs/seed-1.log"
    assert text(console).splitlines() == [
        told_section("ppo", make_plan().scenario),
        f"training 3 of 3 seeds in {tmp_path / 'set'}, at most 1 at once",
        "seed-0: 96 of 128 steps; finished; best validation reward 1.5000",
        f"seed-1: 96 of 128 steps; failed with status 3; the end of {log}:",
        *(f"    {number}" for number in range(2, 7)),
        "seed-2: 96 of 128 steps; finished; best validation reward 1.5000",
        f"2 of 3 seeds are finished; failed: seed-1; go on with: python train.py --resume {tmp_path / 'set'}",
    ]
    fake("sys.exit(9 if seed == 1 else 0)")
    assert seeds.resume(tmp_path / "set", console) == 1
    # What it printed the time before is in the log, and tells nothing about this time.
    assert log.read_text().split() == list("0123456")
    assert "seed-1: 96 of 128 steps; failed with status 9" in text(console)
    assert text(console).count("    6\n") == 1


@pytest.mark.slow
def test_no_more_processes_than_jobs(make_plan: Make, tmp_path: Path, console: Console, fake: Fake) -> None:
    fake("one = run.parent / 'one'\nos.close(os.open(one, os.O_CREAT | os.O_EXCL))\ntime.sleep(0.1)\none.unlink()")
    assert seeds.start(make_plan(), range(3), tmp_path / "set", console, jobs=1) == 0


def test_cores_are_the_default() -> None:
    assert 1 <= side_by_side.processes(None) <= (os.cpu_count() or 1)
    assert side_by_side.processes(3) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)],
)
def test_a_signal_reaches_every_process_and_starts_no_other(
    make_plan: Make, tmp_path: Path, console: Console, fake: Fake, number: signal.Signals, status: int
) -> None:
    fake(
        "def stop(number, frame):\n    run.joinpath('asked').write_text(str(number))\n    sys.exit(128 + number)\n"
        f"signal.signal({number:d}, stop)\nrun.joinpath('ready').touch()\n"
        "while len(list(run.parent.glob('*/ready'))) < 2:\n    time.sleep(0.01)\n"
        f"os.kill(os.getppid(), {number:d}) if seed == 0 else None\ntime.sleep(60)"
    )
    assert seeds.start(make_plan(), [0, 1, 2], tmp_path / "set", console, jobs=2) == status
    assert [(tmp_path / f"set/seed-{seed}/asked").exists() for seed in range(3)] == [True, True, False]
    assert "0 of 3 seeds are finished; go on with" in text(console)
    assert "failed" not in text(console)


@pytest.mark.slow
def test_ctrl_c_after_a_signal_ends_all_at_once(
    make_plan: Make, tmp_path: Path, console: Console, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop, "TOGETHER_S", 0.0)
    fake(
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "def again(*_):\n    signal.signal(signal.SIGINT, signal.SIG_DFL)\n    os.kill(os.getppid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGTERM, again)\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)\ntime.sleep(60)"
    )
    with pytest.raises(KeyboardInterrupt):
        seeds.start(make_plan(), [0], tmp_path / "set", console)


@pytest.mark.slow
def test_a_process_that_does_not_end_is_killed(
    make_plan: Make, tmp_path: Path, console: Console, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop, "TOGETHER_S", 0.0)
    monkeypatch.setattr(side_by_side, "END_S", 0.5)
    fake(
        "run.joinpath('pid').write_text(str(os.getpid()))\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.kill(os.getppid(), signal.SIGINT)\ntime.sleep(0.3)\nos.kill(os.getppid(), signal.SIGINT)\n"
        "while True:\n    time.sleep(1)"
    )
    with pytest.raises(KeyboardInterrupt):
        seeds.start(make_plan(), [0], tmp_path / "set", console)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "set/seed-0/pid").read_text()), 0)


@pytest.mark.slow
def test_rows_in_a_terminal_and_lines_elsewhere(
    make_plan: Make, tmp_path: Path, console: Console, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(f"{TABLES}\ntime.sleep(0.5)")
    monkeypatch.setattr(progress, "SAY_EVERY_S", 0.0)
    seeds.start(make_plan(), [0], tmp_path / "plain", console)
    assert "seed-0: 96 of 128 steps; best validation reward 1.5000\n" in text(console)
    assert "\x1b" not in text(console)
    terminal = Console(file=console.file, width=150, force_terminal=True)
    seeds.start(make_plan(), [0, 1], tmp_path / "rows", terminal, jobs=1)
    shown = text(console).partition("training 2 of 2 seeds")[2]
    assert all(word in shown for word in ("seed-0", "seed-1", "waiting", "96/128", "best validation reward 1.5000"))
    assert "seed-0: 96 of 128 steps; best" not in shown
