from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.build import build, chunk_size
from agents.policy import TrainedPolicy
from agents.settings import hyperparameters
from agents.validation import validate
from agents.vec_env import WDMoEVecEnv
from wdmoe_env import Scenario, Simulator, load_scenario

EASY: dict[str, dict[str, Any]] = {
    "ppo": {"width": 16, "rollout": 512, "batch_size": 128, "learning_rate": 1e-2},
    "sac": {"width": 16, "learning_starts": 512, "batch_size": 64, "gradient_steps": 3, "learning_rate": 5e-3},
}


@pytest.mark.parametrize(("algorithm", "steps"), [("ppo", 6144), ("sac", 4096)])
@pytest.mark.parametrize("seed", [0, 1])
def test_learns(tiny: Scenario, algorithm: Any, steps: int, seed: int) -> None:
    # A low floor on gate mass: dropping more experts than the network does at the start pays at once.
    scenario = load_scenario(tiny, reward={"mass_floor": 0.5})
    settings = hyperparameters(algorithm, "paper", **EASY[algorithm])
    model = build(algorithm, WDMoEVecEnv(scenario, 32), settings, seed, lambda: 0.0)
    policy, simulator = TrainedPolicy("run", model.policy, scenario), Simulator(scenario, 64, "validation")
    before = validate(policy, simulator)["reward"]
    while model.num_timesteps < steps:
        model.learn(chunk_size(model), reset_num_timesteps=False, log_interval=None)  # type: ignore[arg-type]
    assert validate(policy, simulator)["reward"] > before + 0.08


def test_validation_is_the_same_each_time(tiny: Scenario) -> None:
    model = build("ppo", WDMoEVecEnv(tiny, 2), hyperparameters("ppo", "paper", width=8), 0, lambda: 0.0)
    policy, simulator = TrainedPolicy("run", model.policy, tiny), Simulator(tiny, 4, "validation")
    first = validate(policy, simulator)
    assert first == validate(policy, simulator)
    assert next(iter(first)) == "reward"
    assert first["latency_ms"] == pytest.approx(first["latency"] * 2 * 1e3)
    assert all(np.isfinite(value) for value in first.values())


def test_learning_rate_falls_with_progress(tiny: Scenario) -> None:
    done = [0.0]
    settings = hyperparameters("ppo", "paper", width=8, learning_rate=1e-2, learning_rate_end=1e-3)
    model = build("ppo", WDMoEVecEnv(tiny, 2), settings, 0, lambda: done[0])
    rates = []
    for done[0] in (0.0, 0.5, 1.0):
        rates.append(model.lr_schedule(1.0))
    assert rates == pytest.approx([1e-2, 5.5e-3, 1e-3])


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
@pytest.mark.parametrize("name", ["default", "paper", "jetson", "mobile", "cell-64"])
def test_hyperparameter_files_are_valid(algorithm: Any, name: str) -> None:
    assert hyperparameters(algorithm, name)["width"] >= 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning": 1}, "unknown hyperparameter 'learning' of ppo, expected one of width"),
        ({"gamma": 1.5}, "gamma is 1.5, expected a number from 0 to 1"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"learning_rate": -1e-3}, "learning_rate is -0.001"),
        ({"batch_size": 0.5}, "batch_size is 0.5, expected a whole number of at least 2"),
        ({"width": 0}, "width is 0, expected a whole number from 1"),
        ({"n_epochs": True}, "n_epochs is True"),
        ({"vf_coef": float("inf")}, "vf_coef is inf"),
        ({"clip_range": "wide"}, "clip_range is 'wide'"),
        ({"greedy_baseline": 1, "gamma": 0.5}, "greedy_baseline is 1 and gamma is 0.5, expected a gamma of 0"),
    ],
)
def test_bad_hyperparameters(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        hyperparameters("ppo", "paper", **changes)


def test_unknown_algorithm() -> None:
    with pytest.raises(ValueError, match="algo is 'dqn', expected one of ppo, sac"):
        hyperparameters("dqn", "paper")  # type: ignore[arg-type]
