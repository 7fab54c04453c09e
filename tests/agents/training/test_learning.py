from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.toy import preset

from agents.plan import memory
from agents.plan.hyperparameters import hyperparameters
from agents.plan.plan import Plan
from agents.policies.trained import TrainedPolicy
from agents.sb3.build import build, chunk_size
from agents.sb3.vec_env import WDMoEVecEnv
from baselines.validation import validate
from wdmoe_env import Scenario, Simulator, load_scenario, preset_names

EASY: dict[str, dict[str, Any]] = {
    "ppo": {"width": 16, "rollout": 512, "batch_size": 128, "learning_rate": 1e-2},
    "sac": {
        "width": 32,
        "learning_starts": 2048,
        "batch_size": 256,
        "gradient_steps": 3,
        "learning_rate": 1e-3,
        "ent_coef": 0.05,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "most_steps"), [("ppo", 12_288), ("sac", 8192)])
@pytest.mark.parametrize("seed", [0, 1])
def test_learns(tiny: Scenario, algorithm: Any, most_steps: int, seed: int) -> None:
    # A low floor on gate mass: dropping more experts than the network does at the start pays at once.
    scenario = load_scenario(tiny, reward={"mass_floor": 0.5})
    settings = hyperparameters(algorithm, "paper", **EASY[algorithm])
    model = build(algorithm, WDMoEVecEnv(scenario, 32), settings, seed, lambda: 0.0)
    policy, simulator = TrainedPolicy("run", model.policy, scenario), Simulator(scenario, 64, "validation")
    before = validate(policy, simulator)["reward"]
    best = before
    # As in training, the policy of the best validation counts: steps this large overshoot now and then.
    while best <= before + 0.08 and model.num_timesteps < most_steps:
        model.learn(chunk_size(model), reset_num_timesteps=False, log_interval=None)  # type: ignore[arg-type]
        best = max(best, validate(policy, simulator)["reward"])
    assert best > before + 0.08


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
@pytest.mark.parametrize("name", [None, *preset_names()])
def test_hyperparameter_files_are_valid(algorithm: Any, name: str) -> None:
    assert hyperparameters(algorithm, name)["width"] >= 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning": 1}, "unknown hyperparameter 'learning' of ppo, expected one of width"),
        ({"gamma": 1.5}, "gamma is 1.5, expected a number from 0 to 1"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"learning_rate": -1e-3}, "learning_rate is -0.001"),
        ({"batch_size": 0.5}, "batch_size is 0.5, expected a whole number from 2 to"),
        ({"width": 0}, "width is 0, expected a whole number from 1"),
        ({"n_epochs": True}, "n_epochs is True"),
        ({"vf_coef": float("inf")}, "vf_coef is inf"),
        ({"clip_range": "wide"}, "clip_range is 'wide'"),
        ({"rollout": 10**9}, "rollout is 1000000000, expected a whole number from 2 to 10,000,000"),
        ({"batch_size": 10**4000}, "batch_size is 10{59}, expected a whole number from 2 to 1,000,000"),
        ({"n_epochs": 10**5}, "n_epochs is 100000, expected a whole number from 1 to 1,000"),
        ({"greedy_baseline": 1, "gamma": 0.5}, "greedy_baseline is 1 and gamma is 0.5, expected 0 for one of them"),
    ],
)
def test_bad_hyperparameters(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        hyperparameters("ppo", "paper", **changes)


@pytest.mark.parametrize(
    ("algorithm", "scenario", "num_envs", "changes", "words"),
    [
        ("sac", "cell-64", 1, {"buffer_size": 10**7}, "buffer_size is 10000000: .* samples of 64 devices need .* GB"),
        ("sac", "paper", 2**19, {"buffer_size": 2 * 10**7}, "buffer_size is 20000000: 19,922,944 samples"),
        ("ppo", "cell-64", 8, {"rollout": 10**7}, "rollout is 10000000: 10,000,000 samples of 64 devices"),
        ("ppo", "paper", 8, {"rollout": 10**6, "batch_size": 10**6, "width": 4096}, "batch_size is 1000000: 1,000,000"),
        ("sac", "paper", 8, {"batch_size": 10**5, "width": 4096}, "batch_size is 100000: 100,000 samples of 8 devices"),
    ],
)
def test_too_much_memory_is_refused_before_it_is_asked_for(
    algorithm: Any, scenario: str, num_envs: int, changes: dict[str, Any], words: str
) -> None:
    cell, settings = preset(scenario), hyperparameters(algorithm, scenario, **changes)
    with pytest.raises(ValueError, match=f"hyperparameter {words}.*, expected at most 16 GB"):
        Plan(algorithm, cell, settings, 1000, num_envs, 0, "disabled")


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_what_is_needed_is_what_is_built(algorithm: Any, make_plan: Any, monkeypatch: Any) -> None:
    plan = make_plan(algorithm=algorithm)
    model = build(algorithm, WDMoEVecEnv(plan.scenario, plan.num_envs), plan.hyperparameters, 0, lambda: 0.0)
    held: Any = model.rollout_buffer if algorithm == "ppo" else model.replay_buffer  # type: ignore[attr-defined]
    size = sum(array.nbytes for array in vars(held).values() if isinstance(array, np.ndarray))
    monkeypatch.setattr(memory, "LAYERS", 0)
    for limit, fits in ((size / 1.02, False), (size * 1.02, True)):
        monkeypatch.setattr(memory, "MAX_BYTES", limit)
        if fits:
            make_plan(algorithm=algorithm)
        else:
            with pytest.raises(ValueError, match="samples of"):
                make_plan(algorithm=algorithm)


def test_unknown_algorithm() -> None:
    with pytest.raises(ValueError, match="algo is 'dqn', expected one of ppo, sac"):
        hyperparameters("dqn", "paper")  # type: ignore[arg-type]
