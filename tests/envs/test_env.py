"""The Gymnasium environment: registration, seeding, what it returns, what it refuses."""

import json
import subprocess
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from support.toy import SMALL, preset

from wdmoe_env import load_scenario, preset_names
from wdmoe_env.envs.ids import PRESETS, id_of
from wdmoe_env.envs.infos import KEYS
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
    assert {key: value.dtype for key, value in info.items()} == {KEYS[name]: k for name, k in metrics.SCHEMA.items()}
    assert info["metrics/reward"] == reward


def test_reset_returns_the_keys_and_types_of_step_before_anything_was_measured():
    env = make()
    first = env.reset(seed=0)[1]
    later = env.step(np.zeros(8, dtype=np.float32))[-1]
    assert {key: value.dtype for key, value in first.items()} == {key: value.dtype for key, value in later.items()}
    assert all(np.isnan(value) or (key == "metrics/bottleneck" and value == -1) for key, value in first.items())


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
        (np.full(8, np.inf, dtype=np.float32), "action spans inf to inf, expected numbers from -1 to 1"),
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


def test_what_is_outside_of_the_box_is_clipped_with_one_warning():
    env, other = make(), make()
    env.reset(seed=0), other.reset(seed=0)
    far, inside = np.linspace(-3, 3, 8, dtype=np.float32), np.linspace(-3, 3, 8, dtype=np.float32).clip(-1, 1)
    with pytest.warns(UserWarning, match="action spans -3 to 3.*ClipAction"):
        found = env.unwrapped.step(far)
    assert found[1] == other.step(inside)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.unwrapped.step(far)


def test_strict_refuses_what_is_outside_of_the_box_and_forgives_rounding():
    env = make(strict=True)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action spans 3\.0 to 3\.0, expected numbers from -1 to 1"):
        env.step(np.full(8, 3.0, dtype=np.float32))
    env.step(np.full(8, 1.0 + 1e-7))


def test_shares_outside_of_the_box_of_a_dict_are_clipped_too():
    env, other = make(action="native"), make(action="native")
    env.reset(seed=0), other.reset(seed=0)
    chosen, share = np.ones((64, 8), dtype=np.int8), np.linspace(-0.5, 1.5, 8, dtype=np.float32)
    with pytest.warns(UserWarning, match=r"action\['bandwidth'\] spans -0.5 to 1.5"):
        found = env.unwrapped.step({"selection": chosen, "bandwidth": share})
    assert found[1] == other.step({"selection": chosen, "bandwidth": share.clip(0, 1)})[1]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_an_id_with_its_length_and_a_threshold(name):
    spec, scenario = gym.spec(id_of(name)), load_scenario(name)
    assert spec.max_episode_steps == scenario.steps_per_episode
    assert spec.reward_threshold is not None
    # One step of plain top-K earns 1, and nothing earns ten times as much in any preset.
    assert scenario.steps_per_episode < spec.reward_threshold < 10 * scenario.steps_per_episode
    assert PRESETS[name].prices == scenario.prices
    again = EnvSpec.from_json(spec.to_json())
    assert (again.id, again.kwargs, again.reward_threshold) == (spec.id, spec.kwargs, spec.reward_threshold)


@pytest.mark.parametrize("name", SMALL)
def test_an_id_makes_its_preset_with_a_vector_to_look_at(name):
    env: Any = gym.make(id_of(name), overrides=SMALL[name])
    assert env.unwrapped.scenario.name == name
    assert len(env.observation_space.shape) == 1
    assert env.reset(seed=0)[0] in env.observation_space
    assert json.loads(env.spec.to_json())["kwargs"]["scenario"] == name


def test_an_id_does_not_cut_longer_episodes_short_unasked():
    longer = {**SMALL["paper"], "traffic": {"passes_per_episode": 2}}
    env = gym.make("WDMoE-paper-v0", overrides=longer)
    with pytest.raises(ValueError, match=r"WDMoE-paper-v0 ends episodes after 32 steps, .* have 64: make WDMoE-v0"):
        env.reset()
    envs = gym.make_vec("WDMoE-paper-v0", 2, overrides=longer)
    with pytest.raises(ValueError, match="make WDMoE-v0"):
        envs.reset()
    gym.make("WDMoE-v0", overrides=longer, max_episode_steps=40).reset()


def test_an_id_is_found_in_a_new_process_by_its_module():
    program = "import gymnasium; print(gymnasium.make('wdmoe_env:WDMoE-tiny-moe-v0').spec.max_episode_steps)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "32"


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
