"""The Gymnasium environment: registration, seeding, what it returns, what it refuses."""

import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from support.toy import SMALL, preset

from wdmoe_env.system import metrics


def make(name="paper", **options):
    return gym.make("WDMoE-v0", scenario=name, overrides=SMALL[name], **options)


def test_the_id_is_registered_with_both_entry_points():
    spec = gym.spec("WDMoE-v0")
    assert spec.entry_point == "wdmoe_env.envs.env:WDMoEEnv"
    assert spec.vector_entry_point == "wdmoe_env.envs.vector_env:WDMoEVectorEnv"
    assert spec.max_episode_steps is None


def test_making_again_from_the_spec_gives_the_same_environment():
    env = make("mobile", action="price", observation="flat")
    again = gym.make(env.spec)
    np.testing.assert_array_equal(env.reset(seed=3)[0], again.reset(seed=3)[0])


def test_a_scenario_object_is_taken_as_it_is():
    scenario = preset("paper", traffic={"tokens": 5})
    env: Any = gym.make("WDMoE-v0", scenario=scenario, observation="dict")
    assert env.observation_space["gate_weights"].shape == (5, 8)
    assert env.unwrapped.scenario == scenario


def test_step_returns_plain_python_and_the_fixed_metrics():
    env = make()
    env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(np.zeros(8, dtype=np.float32))
    assert observation in env.observation_space
    assert type(reward) is float
    assert type(terminated) is bool
    assert type(truncated) is bool
    assert list(info) == ["metrics"]
    assert {name: value.dtype for name, value in info["metrics"].items()} == metrics.SCHEMA
    assert info["metrics"]["reward"] == reward


@pytest.mark.parametrize("name", ["paper", "mobile"])
def test_an_episode_is_truncated_after_its_last_layer(name):
    env = make(name, action="price", observation="device")
    env.reset(seed=0)
    for step in range(1, env.unwrapped.scenario.steps_per_episode + 1):
        _, _, terminated, truncated, _ = env.step(np.full(8, -1.0, dtype=np.float32))
        assert not terminated
        assert truncated == (step == env.unwrapped.scenario.steps_per_episode)


def test_a_seed_determines_all_episodes_that_follow():
    def rollout(seed):
        env, seen = make("mobile"), []
        seen.append(env.reset(seed=seed)[0])
        seen.append(env.reset()[0])
        seen.append(env.step(np.zeros(8, dtype=np.float32))[0])
        return np.stack(seen)

    one = rollout(4)
    np.testing.assert_array_equal(one, rollout(4))
    assert not np.array_equal(one, rollout(5))
    assert not np.array_equal(one[0], one[1])


def test_held_out_passes_differ_from_training_ones():
    train, test = (make(split=split, observation="dict").reset(seed=0)[0] for split in ("train", "test"))
    np.testing.assert_array_equal(train["gain_dl"], test["gain_dl"])
    assert not np.array_equal(train["gate_weights"], test["gate_weights"])


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.full(8, np.nan, dtype=np.float32), "action spans nan to nan, expected numbers from -1 to 1"),
        (np.zeros(7, dtype=np.float32), r"action has shape \(7,\), expected \(8,\)"),
        (np.zeros((1, 8), dtype=np.float32), r"action has shape \(1, 8\), expected \(8,\)"),
        (0.5, r"action has shape \(\), expected \(8,\)"),
        (np.full(8, 3.0, dtype=np.float32), "action spans 3.0 to 3.0, expected numbers from -1 to 1"),
        (["a"] * 8, "action has dtype"),
        (None, "action has dtype object"),
    ],
)
def test_a_bad_action_is_refused_by_name_and_the_episode_goes_on(action, message):
    env = make()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)
    env.step(np.zeros(8, dtype=np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenario": "papr"}, "unknown scenario 'papr'"),
        ({"action": "prices"}, "action is 'prices', expected one of native, token, price"),
        ({"observation": "image"}, "observation is 'image', expected one of dict, flat, device"),
        ({"split": "dev"}, "split is 'dev'"),
        ({"overrides": {"colour": "red"}}, "colour"),
        ({"render_mode": "ansi"}, "render_mode is 'ansi'"),
    ],
)
def test_bad_arguments_are_named(options, message):
    from wdmoe_env.envs.env import WDMoEEnv

    with pytest.raises(ValueError, match=message):
        WDMoEEnv(**options)


def test_stepping_before_reset_says_what_to_do():
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        make().unwrapped.step(np.zeros(8, dtype=np.float32))


@pytest.mark.slow
def test_the_environment_alone_loads_no_training_or_drawing_library():
    program = (
        "import sys, gymnasium, wdmoe_env, wdmoe_env.render\n"
        "env = gymnasium.make('WDMoE-v0', overrides={'gating': {'bank_passes': 2}})\n"
        "env.reset(seed=0); env.step(env.action_space.sample())\n"
        "heavy = {'torch', 'stable_baselines3', 'matplotlib', 'PIL', 'pandas', 'wandb'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
