"""The gradient of the reward through the split of the band: true to the simulator, and worth climbing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.toy import preset

from agents.plan.hyperparameters import hyperparameters
from agents.sb3.build import build
from agents.sb3.vec_env import WDMoEVecEnv
from agents.warm_start import split_ascent
from wdmoe_env import Scenario, Simulator
from wdmoe_env.envs.codecs import PriceAction, observation_codec


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CELLS": 16, "DEVICES": 4096, "BATCH": 512, "UPDATES": 60}.items():
        monkeypatch.setattr(split_ascent, name, value)


def policy_of(algorithm: Any, scenario: Scenario) -> Any:
    settings = hyperparameters(algorithm, "paper", width=16)
    return build(algorithm, WDMoEVecEnv(scenario, 2), settings, 0, lambda: 0.0).policy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bandwidth", "scale"),
    [
        ("mobile", "residual", "linear"),
        ("jetson", "learned", "linear"),
        ("paper", "learned", "linear"),
        ("mobile", "residual", "log"),
    ],
)
def test_rewards_are_those_of_the_simulator(name: str, bandwidth: Any, scale: str) -> None:
    scenario = preset(name, bandwidth=bandwidth, reward={"scale": scale})
    policy = policy_of("ppo", scenario)
    layers = split_ascent.collect(policy, scenario, 0)
    logits = np.random.default_rng(0).uniform(-1.0, 1.0, tuple(layers.tokens.shape)).astype(np.float32)
    simulator, codec = Simulator(scenario, split_ascent.CELLS, "train"), PriceAction(scenario)
    observation = simulator.reset(0)
    for step in range(3):
        rows = slice(step * split_ascent.CELLS, (step + 1) * split_ascent.CELLS)
        action = np.concatenate([layers.price[rows].numpy(), logits[rows]], axis=1)
        expected = simulator.preview(codec.decode(action, observation))["reward"]
        meant = codec.meaning(torch.from_numpy(action))[1]
        got = split_ascent.rewards(meant, layers.at(rows), scenario)
        np.testing.assert_allclose(got.numpy(), expected, rtol=2e-4, atol=2e-4 if scale == "log" else 0.0)
        table = np.asarray(observation_codec("device", scenario).encode(observation))
        observation = simulator.step(
            codec.decode(policy.predict(table, deterministic=True)[0], observation)
        ).observation


def test_devices_without_tokens_leave_the_gradient_finite() -> None:
    scenario = preset("mobile", bandwidth="residual")
    layers = split_ascent.collect(policy_of("ppo", scenario), scenario, 0)
    tokens, base = layers.tokens.clone(), layers.base.clone()
    tokens[:, 2:] = base[:, 2:] = 0.0
    few = split_ascent.Layers(
        *(layers.table, layers.price, tokens, layers.computing * (tokens > 0), base, layers.cn0, layers.scale)
    )
    logits = torch.zeros_like(tokens, requires_grad=True)
    reward = split_ascent.rewards(logits, few, scenario)
    reward.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(reward).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[:, :2].abs().min() > 0.0


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_wins_reward_and_leaves_prices(algorithm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = preset("mobile", bandwidth="learned")
    policy = policy_of(algorithm, scenario)
    layers = split_ascent.collect(policy, scenario, 0)
    found = split_ascent.ascend(policy, layers, scenario, 0)
    assert found.after > 1.05 * found.before
    with torch.no_grad():
        moved = policy.mean_action(layers.table)[:, : scenario.num_devices] - layers.price
    assert moved.square().mean().sqrt() < 0.05


def test_only_for_actors_that_split_the_band() -> None:
    assert not split_ascent.applies(preset("mobile", bandwidth="optimal"))
    assert split_ascent.applies(preset("mobile", bandwidth="residual"))
    assert not split_ascent.applies(preset("mobile", bandwidth="learned", reward={"metric": "wlr_token"}))
