from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import agents
from agents.build import build
from agents.plan import Plan
from agents.policy import save_policy
from agents.storage import StorageError, load_folder, save_folder
from agents.vec_env import WDMoEVecEnv
from wdmoe_env import Policy, Scenario, Simulator, load_scenario
from wdmoe_env.spaces import observation_codec

Make = Callable[..., Plan]


@pytest.fixture(params=["ppo", "sac"])
def saved(request: Any, make_plan: Make, tmp_path: Path) -> tuple[Path, Any]:
    """A run directory with a policy in it, and its algorithm."""
    plan = make_plan(request.param)
    model = build(request.param, WDMoEVecEnv(plan.scenario, 4), plan.hyperparameters, 0, lambda: 0.0)
    with torch.no_grad():
        for weights in model.policy.parameters():
            weights.add_(0.2 * torch.randn(weights.shape))
    save_policy(tmp_path / "run/best", request.param, model.policy, 8, plan.scenario)
    return tmp_path / "run", model


def test_decides_as_the_network_does(saved: tuple[Path, Any], tiny: Scenario) -> None:
    run, model = saved
    policy = agents.load(run)
    assert isinstance(policy, Policy)
    assert policy.name == "run"
    for num_envs in (1, 5):
        policy.reset(tiny, num_envs)
        simulator = Simulator(tiny, num_envs, "test")
        observation = simulator.reset(3)
        for _ in range(tiny.steps_per_episode):
            encoded = observation_codec("device", tiny).encode(observation)
            np.testing.assert_allclose(policy.act(encoded), model.predict(encoded, deterministic=True)[0], atol=1e-6)
            first, second = policy.decide(observation), policy.decide(observation)
            np.testing.assert_array_equal(first.selection, second.selection)
            np.testing.assert_array_equal(first.bandwidth, second.bandwidth)
            observation = simulator.step(first).observation


def test_torch_keeps_its_threads(saved: tuple[Path, Any], tiny: Scenario) -> None:
    policy, seen = agents.load(saved[0]), []
    torch.set_num_threads(2)
    try:
        policy._network.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
        real = policy._network._predict
        policy._network._predict = lambda *a, **k: (seen.append(torch.get_num_threads()), real(*a, **k))[1]  # type: ignore[method-assign, func-returns-value]
        policy.decide(Simulator(tiny, 1).reset(0))
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_another_scenario_is_refused(saved: tuple[Path, Any], tiny: Scenario) -> None:
    policy = agents.load(saved[0])
    policy.reset(load_scenario(tiny, name="renamed", description="the same"), 1)
    with pytest.raises(ValueError, match=r"trained in scenario 'tiny'.*radio\.bandwidth_hz was 100000000\.0, and is 5"):
        policy.reset(load_scenario(tiny, radio={"bandwidth_hz": 5e7}), 1)


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing is not a folder"):
        agents.load(tmp_path / "nothing")
    with pytest.raises(StorageError, match=r"best/policy\.json cannot be read: No such file"):
        agents.load(tmp_path)


def test_while_it_is_replaced(saved: tuple[Path, Any]) -> None:
    run = saved[0]
    os.replace(run / "best", run / ".best.old")
    (run / ".best.part").mkdir()
    assert agents.load(run).name == "run"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda t, d: d.update(algorithm="../../evil"), "algorithm is '../../evil', expected one of ppo, sac"),
        (lambda t, d: d.update(algorithm=["ppo"]), "algorithm is"),
        (lambda t, d: d.update(width=9), "expected"),
        (lambda t, d: d.update(width="wide"), "does not fit this version"),
        (lambda t, d: d.update(width=-1), "does not fit this version"),
        (lambda t, d: d.pop("width"), "does not fit this version"),
        (lambda t, d: d.pop("scenario"), "a scenario is a NoneType"),
        (lambda t, d: d["scenario"].update(extra=1), "extra: Extra inputs are not permitted"),
        (lambda t, d: t.pop(next(iter(t))), "policy has no"),
        (lambda t, d: t.update(extra=torch.zeros(1)), "policy has an unknown extra"),
        (lambda t, d: t.update({next(iter(t)): torch.zeros(1, 2, 3)}), r"is \(1, 2, 3\) torch.float32, expected"),
        (lambda t, d: t.update({k: v.half() for k, v in t.items()}), "float16, expected"),
    ],
)
def test_what_does_not_fit_is_named(saved: tuple[Path, Any], harm: Any, words: str) -> None:
    folder = saved[0] / "best"
    tensors, data = load_folder(folder, "policy")
    harm(tensors, data)
    save_folder(folder, "policy", tensors, data)
    with pytest.raises(StorageError, match=words) as caught:
        agents.load(saved[0])
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_critics_are_left_behind(saved: tuple[Path, Any]) -> None:
    tensors, data = load_folder(saved[0] / "best", "policy")
    assert data["algorithm"] == "ppo" or all(name.startswith("actor.") for name in tensors)
    assert {"torch", "stable-baselines3", "wdmoe-env"} <= set(data["versions"])
    json.dumps(data)


def test_environment_needs_no_torch() -> None:
    code = "import sys, wdmoe_env, wdmoe_env.provenance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
