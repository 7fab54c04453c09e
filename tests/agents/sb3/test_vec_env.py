from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from agents.sb3.vec_env import WDMoEVecEnv
from baselines.validation import MEANS
from wdmoe_env import Scenario
from wdmoe_env.envs.codecs import ACTIONS, OBSERVATIONS
from wdmoe_env.envs.infos import KEYS

N = 3


def make(tiny: Scenario, seed: int = 7, **encodings: Any) -> WDMoEVecEnv:
    env = WDMoEVecEnv(tiny, N, **encodings)
    env.seed(seed)
    return env


def actions(env: VecEnv, rng: np.random.Generator) -> Any:
    if isinstance(env.action_space, gym.spaces.Dict):
        env.action_space.seed(int(rng.integers(2**31)))
        drawn = [env.action_space.sample() for _ in range(N)]
        return {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}
    return rng.uniform(-1, 1, (N, *(env.action_space.shape or ()))).astype(np.float32)


@pytest.mark.parametrize("observation", list(OBSERVATIONS))
@pytest.mark.parametrize("action", list(ACTIONS))
def test_shapes_and_types(tiny: Scenario, action: str, observation: str) -> None:
    env, rng = make(tiny, action=action, observation=observation), np.random.default_rng(0)
    seen = [env.reset()]
    for _ in range(3):
        observed, reward, done, infos = env.step(actions(env, rng))
        seen.append(observed)
        assert (reward.shape, reward.dtype, done.shape, done.dtype) == ((N,), np.float32, (N,), np.bool_)
        assert len(infos) == N
        assert len({id(info) for info in infos}) == N
        for info in infos:
            kinds = {key: type(info[key]) for key in KEYS.values()}
            assert kinds == {key: int if key == KEYS["bottleneck"] else float for key in KEYS.values()}
    for observed in seen:
        for index in range(N):
            one = {k: v[index] for k, v in observed.items()} if isinstance(observed, dict) else observed[index]
            assert env.observation_space.contains(one)


def test_autoreset_in_the_last_step_alone(tiny: Scenario) -> None:
    env, rng = make(tiny), np.random.default_rng(0)
    env.reset()
    for step in range(1, 7):
        observed, _, done, infos = env.step(actions(env, rng))
        last = step % tiny.steps_per_episode == 0
        assert done.tolist() == [last] * N
        for index, info in enumerate(infos):
            assert info.get("TimeLimit.truncated", False) is last
            assert ("terminal_observation" in info) is last
            if last:
                assert env.observation_space.contains(info["terminal_observation"])
                assert not np.array_equal(info["terminal_observation"], np.asarray(observed)[index])
        assert env.simulator.steps == step % tiny.steps_per_episode


def test_what_is_returned_may_be_changed(tiny: Scenario) -> None:
    def rollout(spoil: bool) -> list[Any]:
        env, rng, seen = make(tiny), np.random.default_rng(0), []
        returned: list[Any] = [env.reset()]
        for _ in range(5):
            if spoil:
                for array in returned:
                    array[...] = 1
            observed, reward, done, infos = env.step(actions(env, rng))
            terminal = [info["terminal_observation"] for info in infos if "terminal_observation" in info]
            seen.append([array.copy() for array in (observed, reward, done, *terminal)])
            returned = [observed, reward, done, *terminal]
        return seen

    for plain, spoiled in zip(rollout(False), rollout(True), strict=True):
        for one, other in zip(plain, spoiled, strict=True):
            np.testing.assert_array_equal(one, other)


def test_seeding(tiny: Scenario) -> None:
    def first(seed: int) -> Any:
        return make(tiny, seed).reset()

    np.testing.assert_array_equal(first(1), first(1))
    assert not np.array_equal(first(1), first(2))
    env = make(tiny, 1)
    assert not np.array_equal(env.reset(), env.reset()), "the seed is used once"


def test_equals_gymnasium_vector_env(tiny: Scenario) -> None:
    sb3, rng = make(tiny), np.random.default_rng(0)
    options = {"observation": "device", "autoreset_mode": AutoresetMode.SAME_STEP}
    gymnasium = gym.make_vec("WDMoE-v0", N, "vector_entry_point", scenario=tiny, **options)
    np.testing.assert_array_equal(sb3.reset(), gymnasium.reset(seed=7)[0])
    for _ in range(5):
        action = actions(sb3, rng)
        observed, reward, done, infos = sb3.step(action)
        other, other_reward, terminated, truncated, other_infos = gymnasium.step(action)
        np.testing.assert_array_equal(observed, other)
        np.testing.assert_array_equal(reward, other_reward.astype(np.float32))
        np.testing.assert_array_equal(done, truncated)
        assert not terminated.any()
        for index, info in enumerate(infos):
            for key in KEYS.values():
                assert info[key] == other_infos[key][index]
            if done[index]:
                np.testing.assert_array_equal(info["terminal_observation"], other_infos["final_obs"][index])


def test_the_first_observation_comes_with_infos_of_the_same_keys_and_types(tiny: Scenario) -> None:
    env = make(tiny)
    env.reset()
    first = env.reset_infos
    later = env.step(np.zeros((N, *(env.action_space.shape or ())), dtype=np.float32))[3]
    for one, other in zip(first, later, strict=True):
        assert {key: type(value) for key, value in one.items()} == {key: type(value) for key, value in other.items()}
        assert all(np.isnan(value) or value == -1 for value in one.values())


def test_actions_outside_of_the_box_are_clipped_with_one_warning_or_refused(tiny: Scenario) -> None:
    env, other = make(tiny), make(tiny)
    env.reset(), other.reset()
    far = np.full((N, *(env.action_space.shape or ())), 3.0, dtype=np.float32)
    with pytest.warns(UserWarning, match="clipped"):
        found = env.step(far)
    np.testing.assert_array_equal(found[1], other.step(np.ones_like(far))[1])
    env.step(far)
    strict = make(tiny, strict=True)
    strict.reset()
    with pytest.raises(ValueError, match=r"spans 3\.0 to 3\.0"):
        strict.step(far)


def test_a_preset_by_its_name() -> None:
    assert WDMoEVecEnv("paper", 1).simulator.scenario.name == "paper"


def test_attributes_and_methods(tiny: Scenario) -> None:
    env = make(tiny)
    assert env.get_attr("scenario") == [tiny] * N
    assert env.get_attr("scenario", 1) == [tiny]
    assert env.get_attr("render_mode") == [None] * N
    assert env.env_is_wrapped(gym.Wrapper) == [False] * N
    assert not env.has_attr("nothing")
    with pytest.raises(AttributeError, match="'gain' cannot be set"):
        env.set_attr("gain", 1)
    with pytest.raises(AttributeError, match="'render' cannot be called"):
        env.env_method("render")
    env.close()


def test_bad_actions_are_named(tiny: Scenario) -> None:
    env = make(tiny)
    env.reset()
    for bad, words in ((np.zeros((N, 5)), "shape"), (np.full((N, 8), np.nan), "nan"), (np.full((N, 8), np.inf), "inf")):
        with pytest.raises(ValueError, match=words):
            env.step(bad)


def test_pop_metrics(tiny: Scenario) -> None:
    env, rng = make(tiny), np.random.default_rng(0)
    env.reset()
    assert env.pop_metrics() == {}
    rewards = np.concatenate([env.step(actions(env, rng))[1] for _ in range(3)])
    popped = env.pop_metrics()
    assert set(popped) == set(MEANS) == set(KEYS) - {"bottleneck"}
    assert popped["reward"] == pytest.approx(rewards.mean(), rel=1e-6)
    assert env.pop_metrics() == {}


def test_rewards_beyond_greedy_decisions(tiny: Scenario) -> None:
    plain, compared, rng = make(tiny), make(tiny), np.random.default_rng(0)
    shape = N, *plain.action_space.shape  # type: ignore[misc]
    fixed = np.zeros(shape, dtype=np.float32)
    asked = []

    def greedy(table: Any) -> Any:
        asked.append(table)
        return fixed

    compared.greedy = greedy
    seen = [plain.reset(), compared.reset()]
    for _ in range(2 * tiny.steps_per_episode):
        np.testing.assert_array_equal(*seen)
        action = rng.uniform(-1, 1, shape).astype(np.float32)
        greedy_decision = plain.actions.decode(fixed, plain.simulator.observation)
        baseline = plain.simulator.preview(greedy_decision)["reward"]
        (one, reward, *_), (other, difference, *_) = plain.step(action), compared.step(action)
        np.testing.assert_array_equal(asked[-1], seen[0])
        np.testing.assert_allclose(difference, reward - baseline, atol=1e-6)
        seen = [one, other]
    assert plain.pop_metrics() == compared.pop_metrics()
    compared.step(fixed)
    np.testing.assert_array_equal(compared.step(fixed)[1], 0.0)
