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
from run_files import assert_same_run, table, text

import agents
from agents import runs, training
from agents.plan import Plan
from agents.run_dir import RunDir
from agents.storage import StorageError, load_folder, save_folder
from wdmoe_env import load_scenario

Make = Callable[..., Plan]


def test_another_scenario_is_refused(make_plan: Make, tmp_path: Path, console: Console) -> None:
    plan, other = make_plan(), load_scenario("paper")
    runs.start(plan, tmp_path / "run", console)
    with pytest.raises(StorageError, match=r"another scenario: gating\.bank_passes was 4, and is 256 here"):
        runs.resume(tmp_path / "run", console, other)
    assert runs.resume(tmp_path / "run", console, load_scenario(plan.scenario, name="renamed")) == 0
    changed = load_scenario(plan.scenario, reward={"mass_floor": 0.5})
    runs.start(replace(plan, scenario=changed), tmp_path / "changed", console)
    shutil.rmtree(tmp_path / "run/checkpoints")
    shutil.copytree(tmp_path / "changed/checkpoints", tmp_path / "run/checkpoints")
    with pytest.raises(
        StorageError, match=r"checkpoint .*000000000128 is of another scenario: reward.mass_floor was 0.5"
    ):
        runs.resume(tmp_path / "run", console)


def test_no_run(tmp_path: Path, console: Console) -> None:
    with pytest.raises(StorageError, match=r"nothing/config\.json cannot be read: No such file.*expected the run dir"):
        runs.resume(tmp_path / "nothing", console)


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
    ],
)
def test_broken_config(make_plan: Make, tmp_path: Path, console: Console, config: Any, words: str) -> None:
    text = config if isinstance(config, str) else json.dumps({**make_plan().as_json(), **config})
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(StorageError, match=words):
        runs.resume(tmp_path, console)


def test_corrupted_newest_checkpoint(
    make_plan: Make, tmp_path: Path, console: Console, stop_after: Any, monkeypatch: Any
) -> None:
    plan, (whole, run) = make_plan(checkpoint_every=32), (tmp_path / "whole", tmp_path / "run")
    runs.start(plan, whole, console)
    stop_after(3)
    runs.start(plan, run, console)
    monkeypatch.undo()
    _, newest = RunDir(run).checkpoints()
    file = newest / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(
        StorageError, match=r"state\.safetensors.*broken.*delete .*000000000096 to go on from 000000000064"
    ):
        runs.resume(run, console)
    shutil.rmtree(newest)
    assert runs.resume(run, console) == 0
    assert_same_run(whole, run)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda t, d: t.pop("state.policy.log_std"), "does not fit this run"),
        (lambda t, d: d["state"]["policy"].pop("log_std"), "policy has no log_std"),
        (lambda t, d: t.update({"state.policy.log_std": torch.zeros(9)}), r"policy log_std is \(9,\)"),
        (lambda t, d: t.update({"state.policy.log_std": torch.zeros(1, dtype=torch.int64)}), "int64"),
        (lambda t, d: t.update({"state.simulator.arrays.cell.gain": torch.zeros(1)}), r"simulator cell.gain is \(1,\)"),
        (lambda t, d: t.update({"state.random.torch": torch.zeros(3)}), "does not fit this run"),
        (lambda t, d: d["state"]["simulator"].update(rng={"bit_generator": "evil"}), "does not fit this run"),
        (lambda t, d: d.pop("rows"), "does not fit this run"),
        (lambda t, d: d.pop("scenario"), "a scenario is a NoneType"),
    ],
)
def test_checkpoint_of_another_form(make_plan: Make, tmp_path: Path, console: Console, harm: Any, words: str) -> None:
    run = tmp_path / "run"
    runs.start(make_plan(), run, console)
    folder = RunDir(run).checkpoints()[-1]
    tensors, data = load_folder(folder, "state")
    harm(tensors, data)
    save_folder(folder, "state", tensors, data)
    with pytest.raises(StorageError, match=words) as caught:
        runs.resume(run, console)
    assert str(folder) in str(caught.value)


def test_killed_while_a_checkpoint_was_replaced(make_plan: Make, tmp_path: Path, console: Console) -> None:
    run = tmp_path / "run"
    runs.start(make_plan(), run, console)
    (newest,) = RunDir(run).checkpoints()
    os.replace(newest, newest.with_name(f".{newest.name}.old"))
    newest.with_name(f".{newest.name}.part").mkdir()
    os.replace(run / "best", run / ".best.old")
    agents.load(run)
    assert runs.resume(run, console) == 0
    assert [path.name for path in (run / "checkpoints").iterdir()] == [newest.name]
    assert (run / "best/policy.json").exists()


def test_full_disk_at_a_checkpoint(make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any) -> None:
    plan, run, full, real = make_plan(checkpoint_every=32), tmp_path / "run", [False], os.fsync
    chunk = training.Trainer._chunk

    def fsync(handle: int) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        real(handle)

    def fills(self: Any) -> None:
        chunk(self)
        full[0] = self.steps == 64

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(training.Trainer, "_chunk", fills)
    assert runs.start(plan, run, console) == 0
    said = text(console)
    assert said.count("warning: could not save") >= 1
    assert "No space left on device; what was saved before is intact; training goes on" in said
    assert [path.name for path in RunDir(run).checkpoints()] == ["000000000096", "000000000128"]
    assert len(table(run / "metrics.csv")) == 4

    monkeypatch.setattr(training.Trainer, "_chunk", lambda self: [chunk(self), full.__setitem__(0, True)])
    full[0] = False
    with pytest.raises(StorageError, match="No space left"):
        runs.start(plan, tmp_path / "other", console)
    agents.load(tmp_path / "other")


def test_divergence_is_named(make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any) -> None:
    def poisons(self: Any, *rest: Any, **others: Any) -> None:
        with torch.no_grad():
            next(iter(self.policy.parameters())).fill_(float("nan"))
        raise ValueError("Expected parameter loc to satisfy the constraint Real()")

    monkeypatch.setattr("agents.build.PPO.learn", poisons)
    with pytest.raises(ValueError, match=r"training diverged before 0 steps.*lower learning_rate"):
        runs.start(make_plan(), tmp_path / "run", console)
