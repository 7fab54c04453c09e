from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import agents
import train
from agents.files.run_dir import RunDir
from agents.plan.plan import Plan
from agents.training import one_run

ROOT = Path(train.__file__).parent
SMALL = ("--num-envs", "4", "--wandb", "disabled", "--evaluate-episodes", "2", "--checkpoint-every", "64")
SET = ("--set", "width", "8", "rollout", "32", "batch_size", "16")


def run_train(*arguments: str, status: int = 2) -> str:
    command = [sys.executable, "train.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def call(**options: Any) -> int:
    return train.main(train.Options(**{"wandb": "disabled", **options}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scenario": "moon"}, "unknown scenario 'moon': expected one of"),
        ({"timesteps": 0}, "timesteps is 0, expected a whole number from 1 to"),
        ({"num_envs": -3}, "num-envs is -3, expected a whole number from 1 to 1,048,576"),
        ({"evaluate_episodes": 0}, "evaluate-episodes is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"set": {"gama": 0.5}}, "unknown hyperparameter 'gama' of ppo"),
        ({"set": {"batch_size": 0.5}}, "batch_size is 0.5"),
        ({"resume": Path("/nowhere")}, "/nowhere/config.json cannot be read: No such file"),
        ({"resume": Path("/tmp"), "run_dir": Path("/x")}, "expected one of them"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(**options) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert words in printed
    assert printed.count("\n") == 1


def test_bad_directories(tmp_path: Path, tiny_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text("{}")
    for path, words in (
        (file, f"run directory {file} is already used: choose another\n"),
        (file / "run", f"run directory {file / 'run'} cannot be written: Not a directory\n"),
        (tmp_path, f"run directory {tmp_path} is already used: choose another\n"),
        (tmp_path / "run", f"already used: choose another, or go on with --resume {tmp_path / 'run'}\n"),
        (tmp_path / ("x" * 300), "cannot be written: File name too long\n"),
    ):
        assert call(run_dir=path, scenario=str(tiny_file), timesteps=32, num_envs=4) == 2
        printed = capsys.readouterr().err
        assert printed.endswith(words)
        assert printed.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "run"]


def test_command_line_names_an_unknown_algorithm() -> None:
    assert "dqn" in run_train("--algo", "dqn")


@pytest.mark.slow
def test_command_line_names_an_unknown_scenario() -> None:
    assert run_train("--scenario", "moon").startswith("error: unknown scenario 'moon'")


def test_interrupted_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(one_run, "start", interrupt)
    assert call() == 130
    assert capsys.readouterr().err.startswith("interrupted at once")


def test_too_little_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def ask(*_: Any) -> None:
        np.empty(2**60, dtype=np.uint8)

    monkeypatch.setattr(one_run, "start", ask)
    assert call() == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: too little memory: Unable to allocate")
    assert printed.count("\n") == 1


def started(run: Path, tiny_file: Path, timesteps: int = 10**7) -> subprocess.Popen[str]:
    """Start a training run as a process of its own, and wait for its first checkpoint."""
    arguments = ["--scenario", str(tiny_file), "--timesteps", str(timesteps), "--run-dir", str(run), *SMALL, *SET]
    command = [sys.executable, "train.py", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + 180  # Imports alone take long where all cores are busy.
    while not RunDir(run).checkpoints():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)
    return process


def shortened(run: Path, steps: int) -> None:
    """Let the run end soon after where it was stopped."""
    config = run / "config.json"
    config.write_text(config.read_text().replace('"timesteps": 10000000', f'"timesteps": {steps}'))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGHUP, 129)]
)
def test_signals(tmp_path: Path, tiny_file: Path, console: Console, number: signal.Signals, status: int) -> None:
    run = tmp_path / "run"
    process = started(run, tiny_file)
    os.killpg(process.pid, number)
    printed = process.communicate(timeout=60)[1]
    assert process.returncode == status
    assert "Traceback" not in printed
    last = printed.strip().splitlines()[-1]
    steps = int(RunDir(run).checkpoints()[-1].name)
    assert last == (
        f"stopped by {number.name} after {steps:,} steps; checkpoint saved; go on with: python train.py --resume {run}"
    )
    shortened(run, steps + 64)
    assert one_run.resume(run, console) == 0
    assert int(RunDir(run).checkpoints()[-1].name) == steps + 64
    agents.load(run)


def test_plan_of_the_options(tiny_file: Path, make_plan: Callable[..., Plan]) -> None:
    plan = train._plan(train.Options(scenario=str(tiny_file), set={"rollout": 64.0, "gamma": 0.5}, timesteps=7))
    assert (plan.scenario, plan.timesteps) == (make_plan().scenario, 7)
    assert plan.hyperparameters["rollout"] == 64
    assert isinstance(plan.hyperparameters["rollout"], int)
    assert plan.hyperparameters["gamma"] == 0.5
