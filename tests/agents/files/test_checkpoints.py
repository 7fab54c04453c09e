from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from support.run_files import assert_same_run, table, text

import agents
from agents.files.run_dir import RunDir
from agents.plan.plan import Plan
from agents.training import one_run, trainer
from wdmoe_env import load_scenario
from wdmoe_env.files.safe import StorageError

Make = Callable[..., Plan]


@pytest.mark.slow
def test_another_scenario_is_refused(make_plan: Make, tmp_path: Path, console: Console) -> None:
    plan, other = make_plan(), load_scenario("paper")
    one_run.start(plan, tmp_path / "run", console)
    with pytest.raises(StorageError, match=r"another scenario: gating\.bank_passes was 4, and is 256 here"):
        one_run.resume(tmp_path / "run", console, other)
    assert one_run.resume(tmp_path / "run", console, load_scenario(plan.scenario, name="renamed")) == 0
    changed = load_scenario(plan.scenario, reward={"mass_floor": 0.5})
    one_run.start(replace(plan, scenario=changed), tmp_path / "changed", console)
    shutil.rmtree(tmp_path / "run/checkpoints")
    shutil.copytree(tmp_path / "changed/checkpoints", tmp_path / "run/checkpoints")
    with pytest.raises(
        StorageError, match=r"checkpoint .*000000000128 is of another scenario: reward.mass_floor was 0.5"
    ):
        one_run.resume(tmp_path / "run", console)


def test_no_run(tmp_path: Path, console: Console) -> None:
    with pytest.raises(StorageError, match=r"nothing/config\.json cannot be read: No such file.*expected the run dir"):
        one_run.resume(tmp_path / "nothing", console)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", "is broken"),
        ("[]", "holds a list"),
        ("{}", "lacks 'algorithm'"),
        ({"timesteps": "many"}, r"config\.json is broken"),
        ({"seed": -1}, "seed is -1"),
        ({"scenario": {}}, "does not fit this version of the project: .* name: Field required"),
        ({"scenario": 5}, "a scenario is a int, expected a mapping"),
        ({"timesteps": 0.5}, "timesteps is 0.5, expected a whole number from 1 to"),
        ({"num_envs": True}, "num-envs is True, expected a whole number from 1 to"),
        ({"num_envs": 10**9}, "num-envs is 1000000000, expected a whole number from 1 to 1,048,576"),
        ({"evaluate_episodes": "3"}, "evaluate-episodes is '3', expected"),
        ({"checkpoint_every": 10**4000}, "checkpoint-every is 1000"),
        ({"seed": False}, "seed is False"),
        ({"algorithm": ["ppo"]}, r"algo is \['ppo'\], expected one of ppo, sac"),
        ({"algorithm": "../../evil"}, "algo is '../../evil'"),
        ({"wandb": "elsewhere"}, "wandb is 'elsewhere', expected one of offline, online, disabled"),
        ({"hyperparameters": [1]}, r"hyperparameters is \[1\], expected a mapping"),
        ({"hyperparameters": {}}, "hyperparameters lack 'batch_size'"),
        ({"hyperparameters": {"width": 10**9}}, "hyperparameter width is 1000000000, expected a whole number from 1"),
        ({"hyperparameters": {"width": True}}, "hyperparameter width is True"),
        ({"hyperparameters": {"algorithm": "sac"}}, "is broken"),
        (
            {"hyperparameters": {"rollout": 10**12}},
            "rollout is 1000000000000, expected a whole number from 2 to 10,000,000",
        ),
        ('{"seed": NaN}', "it holds NaN"),
    ],
)
def test_broken_config(make_plan: Make, tmp_path: Path, console: Console, config: Any, words: str) -> None:
    text = config if isinstance(config, str) else json.dumps({**make_plan().as_json(), **config})
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(StorageError, match=words):
        one_run.resume(tmp_path, console)


@pytest.mark.slow
def test_corrupted_newest_checkpoint(
    make_plan: Make, tmp_path: Path, console: Console, stop_after: Any, monkeypatch: Any
) -> None:
    plan, (whole, run) = make_plan(checkpoint_every=32), (tmp_path / "whole", tmp_path / "run")
    one_run.start(plan, whole, console)
    stop_after(3)
    one_run.start(plan, run, console)
    monkeypatch.undo()
    _, newest = RunDir(run).checkpoints()
    file = newest / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(
        StorageError, match=r"state\.safetensors.*broken.*delete .*000000000096 to go on from 000000000064"
    ):
        one_run.resume(run, console)
    shutil.rmtree(newest)
    assert one_run.resume(run, console) == 0
    assert_same_run(whole, run)


@pytest.mark.slow
def test_killed_while_a_checkpoint_was_replaced(make_plan: Make, tmp_path: Path, console: Console) -> None:
    run = tmp_path / "run"
    one_run.start(make_plan(), run, console)
    (newest,) = RunDir(run).checkpoints()
    os.replace(newest, newest.with_name(f".{newest.name}.old"))
    newest.with_name(f".{newest.name}.part").mkdir()
    os.replace(run / "best", run / ".best.old")
    agents.load(run)
    assert one_run.resume(run, console) == 0
    assert [path.name for path in (run / "checkpoints").iterdir()] == [newest.name]
    assert (run / "best/policy.json").exists()


@pytest.mark.slow
def test_full_disk_at_a_checkpoint(make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any) -> None:
    plan, run, full, real = make_plan(checkpoint_every=32), tmp_path / "run", [False], os.fsync
    chunk = trainer.Trainer._chunk

    def fsync(handle: int) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        real(handle)

    def fills(self: Any) -> None:
        chunk(self)
        full[0] = self.steps == 64

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(trainer.Trainer, "_chunk", fills)
    assert one_run.start(plan, run, console) == 0
    said = text(console)
    assert said.count("warning: could not save") >= 1
    assert "No space left on device; what was saved before is intact; training goes on" in said
    assert [path.name for path in RunDir(run).checkpoints()] == ["000000000096", "000000000128"]
    assert len(table(run / "metrics.csv")) == 4

    monkeypatch.setattr(trainer.Trainer, "_chunk", lambda self: [chunk(self), full.__setitem__(0, True)])
    full[0] = False
    with pytest.raises(StorageError, match="No space left"):
        one_run.start(plan, tmp_path / "other", console)
    agents.load(tmp_path / "other")


def test_divergence_is_named(make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any) -> None:
    def poisons(self: Any, *rest: Any, **others: Any) -> None:
        with torch.no_grad():
            next(iter(self.policy.parameters())).fill_(float("nan"))
        raise ValueError("Expected parameter loc to satisfy the constraint Real()")

    monkeypatch.setattr("agents.sb3.build.PPO.learn", poisons)
    with pytest.raises(ValueError, match=r"training diverged before 0 steps.*lower learning_rate"):
        one_run.start(make_plan(), tmp_path / "run", console)
