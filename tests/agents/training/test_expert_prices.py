"""Runs whose policies price each expert: stopped, resumed, loaded, moved to another host map, exported."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
import torch
from rich.console import Console
from support.run_files import assert_same_run
from support.toy import toy

import agents
import train
from agents.export.raw import input_feed
from agents.plan.plan import Plan
from agents.plan.prices import price_action, priced_observation
from agents.sb3.expert_networks import Hosting
from agents.training import one_run
from wdmoe_env import Scenario, Simulator, load_scenario
from wdmoe_env.files.safe import StorageError

Make = Callable[..., Plan]


def cell(**changes: Any) -> Scenario:
    """Three devices with four, two and one expert."""
    host = [0, 0, 1, 2, 0, 1, 0]
    return toy(3, 7, 2, tokens=8, host=host, prices="expert", **{"bandwidth": "residual", **changes})


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_stopped_and_resumed_equals_uninterrupted(
    make_plan: Make, tmp_path: Path, console: Console, stop_after: Callable[[int], None], algorithm: str
) -> None:
    plan = make_plan(algorithm)
    plan = replace(plan, scenario=cell(), timesteps=plan.timesteps // 2)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert one_run.start(plan, whole, console) == 0
    stop_after(1)
    assert one_run.start(plan, halves, console) == 130
    torch.manual_seed(99)
    assert one_run.resume(halves, console) == 0
    assert_same_run(whole, halves)

    policy = agents.load(whole)
    assert policy.scenario.prices == "expert"
    simulator = Simulator(cell(), 4, "test")
    policy.reset(cell(), 4)
    observation = simulator.reset(0)
    table, network = priced_observation(cell()).encode(observation), cast(Any, policy.network)
    assert table.shape[:2] == (4, 7)
    with torch.no_grad():
        action = network.mean_action(torch.as_tensor(table), Hosting(cell().hosts)).clamp(-1.0, 1.0).numpy()
    np.testing.assert_allclose(policy.act(table), action, atol=2e-6)
    assert np.isfinite(simulator.step(policy.decide(observation)).reward).all()


@pytest.fixture
def run(make_plan: Make, tmp_path: Path, console: Console) -> Path:
    """A run of one update."""
    plan = replace(make_plan(), scenario=cell(), timesteps=32)
    assert one_run.start(plan, tmp_path / "run", console) == 0
    return tmp_path / "run"


def test_moves_to_another_host_map(run: Path) -> None:
    other = toy(4, 12, 3, tokens=5)
    with pytest.raises(ValueError, match="with transfer it runs all the same"):
        agents.load(run).reset(other, 2)
    policy, simulator = agents.load(run, transfer=True), Simulator(other, 2)
    policy.reset(other, 2)
    decision = policy.decide(simulator.reset(0))
    assert decision.selection.shape == (2, 5, 12)
    assert np.isfinite(simulator.step(decision).reward).all()


def test_prices_are_as_they_were_learned(run: Path) -> None:
    policy = agents.load(run)
    policy.reset(load_scenario(cell(), prices="device"), 2)
    assert policy.decide(Simulator(cell(), 2).reset(0)).selection.shape == (2, 8, 7)


def test_a_policy_of_the_other_kind_is_refused(run: Path) -> None:
    file = run / "best/policy.json"
    data = json.loads(file.read_text())
    data["scenario"]["prices"] = "device"
    file.write_text(json.dumps(data))
    with pytest.raises(StorageError):
        agents.load(run)


def test_exported_file_decides_the_same(run: Path, capsys: Any) -> None:
    assert train.command_line(["export", str(run)]) == 0
    assert "  logit: " in capsys.readouterr().out
    session = onnxruntime.InferenceSession(run / "policy.onnx")
    observation, policy = Simulator(cell(), 3, "test").reset(2), agents.load(run)
    policy.reset(cell(), 3)
    table = priced_observation(cell()).encode(observation)
    expected = price_action(cell()).meaning(policy.act(table))
    for found, value, width in zip(
        session.run(["price", "logit"], input_feed(observation)), expected, (7, 3), strict=True
    ):
        assert found.shape == (3, width)
        np.testing.assert_allclose(found, value, atol=1e-5)
    metadata = session.get_modelmeta().custom_metadata_map
    assert "gate_weight - price[expert] where" in metadata["decision"]
    assert json.loads(metadata["outputs"])["price"].startswith("(N, E)")


def test_command_line(tmp_path: Path, tiny_file: Path) -> None:
    quick = ["--timesteps", "32", "--num-envs", "4", "--evaluate-episodes", "2", "--wandb", "disabled"]
    options = ["--scenario", str(tiny_file), "--prices", "expert", "--run-dir", str(tmp_path / "run"), *quick]
    assert train.command_line([*options, "--set", "rollout", "32", "batch_size", "16"]) == 0
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["scenario"]["prices"] == "expert"
    assert agents.load(tmp_path / "run").scenario.prices == "expert"
