from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from support.replayed import replaying
from support.replayed import table as table_of_boards
from support.run_files import assert_same_run, table, text

from agents.files.run_dir import RunDir
from agents.plan.plan import Plan
from agents.training import one_run, trainer
from wdmoe_env.files.safe import StorageError

Make = Callable[..., Plan]


# SAC's buffer is full and overwritten from the third chunk on; it acts at random through all of the first.
@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "chunks"), [("ppo", 1), ("ppo", 3), ("sac", 1), ("sac", 3)])
def test_resumed_equals_uninterrupted(
    make_plan: Make,
    tmp_path: Path,
    console: Console,
    stop_after: Any,
    algorithm: str,
    chunks: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan, (whole, halves) = make_plan(algorithm), (tmp_path / "whole", tmp_path / "halves")
    assert one_run.start(plan, whole, console) == 0
    stop_after(chunks)
    assert one_run.start(plan, halves, console) == 130
    assert "stopped by SIGINT" in text(console)
    assert len(table(halves / "metrics.csv")) == chunks
    monkeypatch.undo()
    torch.manual_seed(99)
    assert one_run.resume(halves, console) == 0
    assert f"resuming {halves} at {chunks * plan.timesteps // 4:,} of" in text(console)
    assert_same_run(whole, halves)
    checkpoint = RunDir(halves).load_checkpoint(2**30)
    assert checkpoint is not None
    assert ("state.buffer.observations" in checkpoint[1]) == (algorithm == "sac")
    assert len(table(whole / "metrics.csv")) == 4
    assert len(table(whole / "evaluations.csv")) == 5


def same_in_halves(plan: Plan, folder: Path, console: Console, stopping: pytest.MonkeyPatch) -> Path:
    """Run a plan stopped, resumed, and then at once; compare both, and return the directory of the whole run."""
    whole, halves = folder / "whole", folder / "halves"
    assert one_run.start(plan, halves, console) == 130
    stopping.undo()
    assert one_run.resume(halves, console) == 0
    assert one_run.start(plan, whole, console) == 0
    assert_same_run(whole, halves)
    return whole


@pytest.mark.slow
@pytest.mark.parametrize("replay", ["distribution", "sequence"])
def test_resumed_equals_uninterrupted_on_measured_devices(
    make_plan: Make, tmp_path: Path, console: Console, stop_after: Any, replay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(make_plan(), scenario=replaying(table_of_boards(tmp_path), replay))
    stop_after(2)
    same_in_halves(plan, tmp_path, console, monkeypatch)


@pytest.mark.slow
def test_resumed_equals_uninterrupted_beside_greedy_decisions(
    make_plan: Make, tmp_path: Path, console: Console, stop_after: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    plan = replace(plan, hyperparameters={**plan.hyperparameters, "gamma": 0.0, "greedy_baseline": 1})
    stop_after(2)
    whole, alone = same_in_halves(plan, tmp_path, console, monkeypatch), tmp_path / "alone"
    without = replace(plan, hyperparameters={**plan.hyperparameters, "greedy_baseline": 0})
    assert one_run.start(without, alone, console) == 0
    # The first rollout is the same, and is learned from differently.
    assert table(whole / "metrics.csv")[0]["rollout/reward"] == table(alone / "metrics.csv")[0]["rollout/reward"]
    assert table(whole / "evaluations.csv")[-1] != table(alone / "evaluations.csv")[-1]


@pytest.mark.slow
def test_killed_after_a_checkpoint(make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any) -> None:
    plan, (whole, killed) = make_plan(checkpoint_every=64), (tmp_path / "whole", tmp_path / "killed")
    one_run.start(plan, whole, console)
    calls, real = iter(range(100)), trainer.Trainer._chunk

    def dies(self: Any) -> None:
        real(self)
        if next(calls) == 2:
            raise SystemExit("killed")

    monkeypatch.setattr(trainer.Trainer, "_chunk", dies)
    with pytest.raises(SystemExit):
        one_run.start(plan, killed, console)
    monkeypatch.undo()
    with (killed / "metrics.csv").open("a") as file:
        file.write("128,0.")
    assert len(table(killed / "evaluations.csv")) == 3
    assert one_run.resume(killed, console) == 0
    assert_same_run(whole, killed)


@pytest.mark.slow
def test_killed_before_the_first_checkpoint(
    make_plan: Make, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, (whole, killed) = make_plan(), (tmp_path / "whole", tmp_path / "killed")
    one_run.start(plan, whole, console)
    calls, real = iter(range(100)), trainer.Trainer._chunk
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_chunk", lambda self: sys.exit("killed") if next(calls) == 2 else real(self))
        with pytest.raises(SystemExit):
            one_run.start(plan, killed, console)
    assert RunDir(killed).checkpoints() == []
    assert len(table(killed / "evaluations.csv")) == 3
    assert one_run.resume(killed, console) == 0
    assert f"{killed} holds no checkpoint: training starts at its first step" in text(console)
    assert_same_run(whole, killed)


@pytest.mark.slow
def test_killed_before_the_configuration_was_written(make_plan: Make, tmp_path: Path, console: Console) -> None:
    (tmp_path / ".config.json.part").write_text('{"algo')
    with pytest.raises(StorageError, match=r"config\.json cannot be read"):
        one_run.resume(tmp_path, console)
    assert one_run.start(make_plan(), tmp_path, console) == 0


@pytest.mark.slow
def test_stopped_before_the_first_step(make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any) -> None:
    plan, (whole, halves) = make_plan(), (tmp_path / "whole", tmp_path / "halves")
    one_run.start(plan, whole, console)
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "track", lambda self: signal.raise_signal(signal.SIGTERM))
        assert one_run.start(plan, halves, console) == 143
    assert "stopped by SIGTERM after 0 steps; checkpoint saved" in text(console)
    assert one_run.resume(halves, console) == 0
    assert_same_run(whole, halves)


def test_hyperparameters_stay_what_they_were(
    make_plan: Make, tmp_path: Path, console: Console, stop_after: Any
) -> None:
    plan = make_plan(settings={"gamma": 0.25, "greedy_baseline": 0})
    stop_after(1)
    one_run.start(plan, tmp_path / "run", console)
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["hyperparameters"] == plan.hyperparameters
    assert {"versions", "git_revision", "command", "scenario", "seed"} <= set(config)


@pytest.mark.slow
def test_finished_run(make_plan: Make, tmp_path: Path, console: Console) -> None:
    run = tmp_path / "run"
    one_run.start(make_plan(), run, console)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert one_run.resume(run, console) == 0
    assert "already finished: 128 steps; start a new run" in text(console)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda run: (run / "metrics.csv").unlink(), r"metrics.csv is gone, expected the 4 of the checkpoint"),
        (lambda run: shorten(run / "metrics.csv"), r"metrics.csv has 3 rows, expected the 4 of the checkpoint"),
        (lambda run: shorten(run / "evaluations.csv"), r"evaluations.csv has 4 rows, expected the 5 of the checkpoint"),
        (lambda run: shutil.rmtree(run / "best"), r"run/best, the best policy so far, is gone: put it back"),
    ],
)
def test_what_is_gone_is_missed(make_plan: Make, tmp_path: Path, console: Console, harm: Any, words: str) -> None:
    assert one_run.start(make_plan(), tmp_path / "run", console) == 0
    harm(tmp_path / "run")
    with pytest.raises(StorageError, match=words):
        one_run.resume(tmp_path / "run", console)


def shorten(file: Path) -> None:
    """Take away the last row."""
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.slow
def test_a_finished_run_is_looked_at_on_a_full_disk(
    make_plan: Make, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert one_run.start(make_plan(), tmp_path / "run", console) == 0

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("agents.files.table.write_text", full)
    assert one_run.resume(tmp_path / "run", console) == 0
    assert "is already finished" in text(console)
    with (tmp_path / "run/metrics.csv").open("a") as file:
        file.write("cut")
    with pytest.raises(StorageError, match=r"metrics.csv cannot be written: No space left on device"):
        one_run.resume(tmp_path / "run", console)


def test_a_directory_is_claimed_before_its_first_file(make_plan: Make, tmp_path: Path, console: Console) -> None:
    with RunDir(tmp_path / "run").claimed(), pytest.raises(StorageError, match="run is in use by another process"):
        one_run.start(make_plan(), tmp_path / "run", console)
    assert not (tmp_path / "run/config.json").exists()
