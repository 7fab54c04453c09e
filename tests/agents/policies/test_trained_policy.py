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
from support.replayed import replaying
from support.replayed import table as table_of_boards

import agents
from agents.plan.plan import Plan
from agents.policies.trained import _network, save_policy
from agents.sb3.build import build
from agents.sb3.vec_env import WDMoEVecEnv
from wdmoe_env import Policy, Scenario, Simulator, load_scenario
from wdmoe_env.envs.codecs import action_codec, observation_codec
from wdmoe_env.files.safe import StorageError
from wdmoe_env.files.tensors import load_folder, save_folder

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


@pytest.mark.slow
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


def test_decides_what_the_network_does(saved: tuple[Path, Any], tiny: Scenario) -> None:
    policy = agents.load(saved[0])
    network: Any = policy.network
    for cells in (1, 7):
        policy.reset(tiny, cells)
        table = observation_codec("device", tiny).encode(Simulator(tiny, cells).reset(0))
        with torch.no_grad():
            expected = network.mean_action(torch.as_tensor(table)).numpy()
        np.testing.assert_allclose(policy.act(table), np.clip(expected.reshape(cells, -1), -1.0, 1.0), atol=2e-6)


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


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else []


def tamper(run: Path, harm: Callable[[dict[str, torch.Tensor], Any], Any]) -> None:
    tensors, data = load_folder(run / "best", "policy", 2**20)
    harm(tensors, data)
    save_folder(run / "best", "policy", tensors, data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda t, d: d.update(algorithm="../../evil"), "algorithm is '../../evil', expected one of ppo, sac"),
        (lambda t, d: d.update(algorithm=["ppo"]), "algorithm is"),
        (lambda t, d: d.update(width=9), "expected"),
        (lambda t, d: d.pop("width"), "width is None, expected a whole number"),
        (lambda t, d: d.update(encodings=5), "encodings was 5, and is {"),
        (lambda t, d: d.pop("encodings"), "encodings was None, and is {"),
        (lambda t, d: d["encodings"].update(action="token"), "encodings.action was 'token', and is 'price' here"),
        (lambda t, d: d["encodings"].update(action_kinds=2), "encodings.action_kinds was 2, and is 1 here"),
        (lambda t, d: d["encodings"]["features"].append("x"), r"encodings\.features had \d+ entries, and has"),
        (lambda t, d: d["encodings"]["features"].reverse(), r"encodings\.features\[0\] was 'depth', and is 'eff"),
        (lambda t, d: d["scenario"]["devices"][0].update(count=999), "needs? at least one expert"),
        (lambda t, d: d["scenario"]["model"].update(experts=10**9, layers=1), "less than or equal to 65536"),
        (lambda t, d: d["scenario"].update(name="../../evil"), "name: String should match pattern"),
        (lambda t, d: d["scenario"].update(board="../../evil"), "board: Extra inputs are not permitted"),
        (lambda t, d: d["scenario"].update(description=nested(400)), "recursion limit exceeded"),
        (lambda t, d: d["scenario"]["gating"].update(bank_passes=10**12), "bank_passes: Input should be less than"),
        (lambda t, d: d["scenario"]["radio"].update(bandwidth_hz=True), "valid number"),
        (lambda t, d: d.pop("scenario"), "a scenario is a NoneType"),
        (lambda t, d: d["scenario"].update(extra=1), "extra: Extra inputs are not permitted"),
        (lambda t, d: t.pop(next(iter(t))), "policy has no"),
        (lambda t, d: t.update(extra=torch.zeros(1)), "policy has an unknown extra"),
        (lambda t, d: t.update({next(iter(t)): torch.zeros(1, 2, 3)}), r"is \(1, 2, 3\) torch.float32, expected"),
        (lambda t, d: t.update({k: v.half() for k, v in t.items()}), "float16, expected"),
    ],
)
def test_what_does_not_fit_is_named(saved: tuple[Path, Any], harm: Any, words: str) -> None:
    tamper(saved[0], harm)
    with pytest.raises(StorageError, match=words) as caught:
        agents.load(saved[0])
    assert str(saved[0] / "best") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("width", [10**9, 4096, 10**4000, 0, -1, True, 8.0, "8", "wide", [8], None])
def test_width_is_checked_before_a_network_is_built(saved: tuple[Path, Any], width: Any, monkeypatch: Any) -> None:
    tamper(saved[0], lambda t, d: d.update(width=width))
    monkeypatch.setattr("agents.policies.trained._network", lambda *_: pytest.fail("a network was built"))
    with pytest.raises(StorageError, match=r"best/policy\.json: width is .*, (expected|but there are [\d,]+ weights)"):
        agents.load(saved[0])


def test_large_file_is_not_read(saved: tuple[Path, Any]) -> None:
    os.truncate(saved[0] / "best/policy.safetensors", 8 * 2**30)
    with pytest.raises(StorageError, match="has 8,589,934,592 bytes, expected at most 536,870,912"):
        agents.load(saved[0])


@pytest.mark.slow
@pytest.mark.parametrize("file", ["../../etc/passwd", "/etc/passwd"])
def test_files_that_a_policy_names_are_not_read(saved: tuple[Path, Any], tiny: Scenario, file: str) -> None:
    fading = {"kind": "none", "diversity": 1}
    tamper(saved[0], lambda t, d: d["scenario"]["channel"].update(trace={"files": [file]}, fading=fading))
    policy = agents.load(saved[0])
    assert policy.scenario.channel.trace is not None
    assert policy.scenario.channel.trace.files == (file,)
    with pytest.raises(ValueError, match=r"channel\.fading\.kind was 'none'"):
        policy.reset(tiny, 1)
    compute = {"kind": "measured", "file": file, "board": "x"}
    tamper(saved[0], lambda t, d: d["scenario"]["devices"][0].update(compute=compute))
    assert agents.load(saved[0]).scenario.devices[0].compute.model_dump()["file"] == file


def test_policy_of_measured_devices(tmp_path: Path) -> None:
    scenario = replaying(table_of_boards(tmp_path))
    save_policy(tmp_path / "run/best", "ppo", _network("ppo", 8, scenario), 8, scenario)
    policy, simulator = agents.load(tmp_path / "run"), Simulator(scenario, 2)
    policy.reset(scenario, 2)
    observation = simulator.reset(0)
    decision, seen = policy.decide(observation), observation_codec("device", scenario).encode(observation)
    network: Any = policy.network
    with torch.no_grad():
        action = np.clip(network.mean_action(torch.as_tensor(seen)).numpy().reshape(2, -1), -1.0, 1.0)
    expected = action_codec("price", scenario).decode(action, observation)
    np.testing.assert_array_equal(decision.selection, expected.selection)
    np.testing.assert_allclose(decision.bandwidth, expected.bandwidth, rtol=1e-4)
    assert (simulator.step(decision).reward > 0.0).all()


def devices(tiny: Scenario, count: int, tokens: int = 8) -> Scenario:
    (group,) = tiny.model_dump(mode="json")["devices"][:1]
    changes = {"traffic": {"tokens": tokens}, "model": {"experts": 32}}
    return load_scenario(tiny, devices=[{**group, "count": count}], **changes)


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 8, 16, 32])
def test_transfer(saved: tuple[Path, Any], tiny: Scenario, count: int) -> None:
    policy, scenario = agents.load(saved[0], transfer=True), devices(tiny, count, tokens=12)
    simulator = Simulator(scenario, 3)
    policy.reset(scenario, 3)
    observation = simulator.reset(0)
    outcome = simulator.step(policy.decide(observation))
    assert np.isfinite(outcome.reward).all()
    table, order = (
        observation_codec("device", scenario).encode(observation),
        np.random.default_rng(0).permutation(count),
    )
    actions = policy.act(table)
    assert actions.shape == (3, count)
    assert np.ptp(actions, axis=1).min() > 1e-4
    np.testing.assert_allclose(policy.act(table[:, order]), actions[:, order], atol=1e-6)


@pytest.mark.slow
def test_transfer_and_back(saved: tuple[Path, Any], tiny: Scenario) -> None:
    policy, own = agents.load(saved[0], transfer=True), agents.load(saved[0])
    observation = Simulator(tiny, 2).reset(0)
    own.reset(tiny, 2)
    for scenario in (devices(tiny, 16), tiny):
        policy.reset(scenario, 2)
    expected = own.decide(observation)
    np.testing.assert_array_equal(policy.decide(observation).selection, expected.selection)
    np.testing.assert_array_equal(policy.decide(observation).bandwidth, expected.bandwidth)


@pytest.mark.slow
def test_transfer_has_to_be_asked_for(saved: tuple[Path, Any], tiny: Scenario) -> None:
    with pytest.raises(ValueError, match=r"devices\[0\]\.count was .*; with transfer it runs all the same"):
        agents.load(saved[0]).reset(devices(tiny, 4), 1)


@pytest.mark.slow
def test_the_band_is_split_as_it_was_learned(saved: tuple[Path, Any], tiny: Scenario) -> None:
    policy, observation = agents.load(saved[0]), Simulator(tiny, 2).reset(0)
    policy.reset(tiny, 2)
    expected = policy.decide(observation)
    policy.reset(load_scenario(tiny, bandwidth="learned"), 2)
    np.testing.assert_array_equal(policy.decide(observation).bandwidth, expected.bandwidth)


@pytest.mark.slow
def test_prices_mean_what_they_meant_in_training_and_the_rewards_scale_does_not_count(
    saved: Any, tiny: Scenario
) -> None:
    policy, observation = agents.load(saved[0]), Simulator(tiny, 2).reset(0)
    policy.reset(tiny, 2)
    expected = policy.decide(observation)
    policy.reset(load_scenario(tiny, price_max=1.0, reward={"scale": "log"}), 2)
    np.testing.assert_array_equal(policy.decide(observation).selection, expected.selection)
    with pytest.raises(ValueError, match=r"reward\.mass_floor was 0\.95, and is 0\.5 here"):
        policy.reset(load_scenario(tiny, reward={"mass_floor": 0.5}), 2)


@pytest.mark.slow
def test_reset_comes_first(saved: tuple[Path, Any], tiny: Scenario) -> None:
    with pytest.raises(RuntimeError, match=r"call reset\(\) before"):
        agents.load(saved[0]).decide(Simulator(tiny).reset(0))


def test_critics_are_left_behind(saved: tuple[Path, Any]) -> None:
    tensors, data = load_folder(saved[0] / "best", "policy", 2**20)
    assert data["algorithm"] == "ppo" or all(name.startswith("actor.") for name in tensors)
    assert {"torch", "stable-baselines3", "wdmoe-env"} <= set(data["versions"])
    json.dumps(data)


@pytest.mark.slow
def test_environment_needs_no_torch() -> None:
    code = "import sys, wdmoe_env, wdmoe_env.files.provenance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
