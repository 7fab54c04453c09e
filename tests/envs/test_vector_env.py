"""The vector environment: native batches, autoreset in the same step, the same as the single one."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from support.toy import SMALL

from wdmoe_env.envs.vector_env import WDMoEVectorEnv
from wdmoe_env.system import metrics

SHORT = {"model": {"layers": 5}, "traffic": {"passes_per_episode": 1}}


def make(num_envs, name="paper", overrides=None, **options):
    merged = {**SMALL[name], **(overrides or {})}
    return gym.make_vec("WDMoE-v0", num_envs, "vector_entry_point", scenario=name, overrides=merged, **options)


@pytest.mark.slow
@pytest.mark.parametrize("observation", ["dict", "flat", "device", "expert"])
@pytest.mark.parametrize("action", ["native", "token", "price", "expert-price"])
@pytest.mark.parametrize("num_envs", [1, 64])
def test_batches_lie_in_their_spaces(num_envs, action, observation):
    envs = make(num_envs, overrides=SHORT, action=action, observation=observation)
    assert envs.num_envs == num_envs
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    envs.action_space.seed(0)
    seen, _ = envs.reset(seed=0)
    assert seen in envs.observation_space
    for step in range(1, 8):
        seen, reward, terminated, truncated, infos = envs.step(envs.action_space.sample())
        assert seen in envs.observation_space
        assert reward.shape == terminated.shape == truncated.shape == (num_envs,)
        assert (terminated.dtype, truncated.dtype) == (bool, bool)
        assert not terminated.any()
        assert (truncated == (step % 5 == 0)).all()
        assert {name: (values.dtype, values.shape) for name, values in infos["metrics"].items()} == {
            name: (np.dtype(kind), (num_envs,)) for name, kind in metrics.SCHEMA.items()
        }
        assert infos["_metrics"].all()


@pytest.mark.slow
@pytest.mark.parametrize("observation", ["dict", "device"])
@pytest.mark.parametrize("name", ["paper", "jetson", "mobile"])
def test_a_single_environment_is_the_vector_of_one_across_episodes(name, observation):
    options = {"observation": observation, "action": "price"}
    env = gym.make("WDMoE-v0", scenario=name, overrides={**SMALL[name], **SHORT}, **options)
    envs = make(1, name, SHORT, **options)
    rng = np.random.default_rng(0)
    np.testing.assert_equal(only(envs.reset(seed=9)[0]), env.reset(seed=9)[0])
    for _ in range(12):
        action = rng.uniform(-1, 1, 8).astype(np.float32)
        seen, reward, _, truncated, infos = envs.step(action[None])
        alone, lone_reward, _, lone_truncated, info = env.step(action)
        assert (reward[0], truncated[0]) == (lone_reward, lone_truncated)
        assert {key: value[0] for key, value in infos["metrics"].items()} == info["metrics"]
        if lone_truncated:
            assert infos["_final_obs"].all()
            np.testing.assert_equal(only(infos["final_obs"]), alone)
            alone = env.reset()[0]
        else:
            assert "final_obs" not in infos
        np.testing.assert_equal(only(seen), alone)


def test_the_end_of_an_episode_is_told_as_by_gymnasiums_own_vector_environment():
    options = {"scenario": "mobile", "overrides": {**SMALL["mobile"], **SHORT}}
    reference = gym.vector.SyncVectorEnv(
        [lambda: gym.make("WDMoE-v0", **options)], autoreset_mode=AutoresetMode.SAME_STEP
    )
    envs, rng = make(1, "mobile", SHORT), np.random.default_rng(0)
    np.testing.assert_array_equal(envs.reset(seed=3)[0], reference.reset(seed=3)[0])
    for step in range(1, 12):
        action = rng.uniform(-1, 1, (1, 8)).astype(np.float32)
        seen, *_, infos = envs.step(action)
        other, *_, expected = reference.step(action)
        np.testing.assert_array_equal(seen, other)
        told = {"final_obs", "_final_obs", "final_info", "_final_info"}
        assert told & infos.keys() == told & expected.keys() == (told if step % 5 == 0 else set())
        if step % 5:
            continue
        for mask in ("_final_obs", "_final_info"):
            np.testing.assert_array_equal(infos[mask], expected[mask])
        np.testing.assert_array_equal(infos["final_obs"][0], expected["final_obs"][0])
        np.testing.assert_array_equal(infos["final_info"]["_metrics"], expected["final_info"]["_metrics"])
        for name in metrics.SCHEMA:
            found = infos["final_info"]["metrics"][name]
            np.testing.assert_array_equal(found, expected["final_info"]["metrics"][name], err_msg=name)


def only(batch):
    return {name: values[0] for name, values in batch.items()} if isinstance(batch, dict) else batch[0]


def test_what_was_returned_does_not_change_later():
    envs = make(3, "mobile", SHORT)
    first, _ = envs.reset(seed=0)
    kept = first.copy()
    seen, reward, *_, infos = envs.step(np.zeros((3, 8), dtype=np.float32))
    copies = seen.copy(), reward.copy(), infos["metrics"]["latency"].copy()
    for _ in range(6):
        envs.step(np.full((3, 8), 0.5, dtype=np.float32))
    np.testing.assert_array_equal(first, kept)
    for array, copy in zip((seen, reward, infos["metrics"]["latency"]), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_environments_of_a_batch_differ():
    seen, _ = make(8).reset(seed=0)
    assert len({row.tobytes() for row in seen}) == 8


@pytest.mark.parametrize("seed", [[1, 2], (1, 2), "1", 1.5])
def test_one_seed_for_the_whole_batch(seed):
    with pytest.raises(ValueError, match="expected one integer for the whole batch"):
        make(2).reset(seed=seed)


def test_a_numpy_integer_is_a_seed():
    one, two = make(2), make(2)
    np.testing.assert_array_equal(one.reset(seed=np.int64(3))[0], two.reset(seed=3)[0])


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((3, 8)), "action is for 3 environments, expected 2"),
        (np.zeros((2, 9)), r"action has shape \(9,\), expected \(8,\)"),
        (np.full((2, 8), np.nan), "action spans nan"),
        (np.full((2, 8), 2.0), "action spans 2.0 to 2.0, expected numbers from -1 to 1"),
    ],
)
def test_bad_actions_are_refused_by_name(actions, message):
    envs = make(2)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        envs.step(actions)


def test_a_batch_cannot_be_rendered():
    with pytest.raises(ValueError, match="render_mode is 'rgb_array', expected None"):
        WDMoEVectorEnv(2, render_mode="rgb_array")


def test_episode_statistics_of_gymnasium_work_on_it():
    envs = gym.wrappers.vector.RecordEpisodeStatistics(make(2, overrides=SHORT))
    envs.reset(seed=0)
    total = np.zeros(2)
    for _ in range(5):
        _, reward, _, truncated, infos = envs.step(np.full((2, 8), -1.0, dtype=np.float32))
        total += reward
    assert truncated.all()
    np.testing.assert_allclose(infos["episode"]["r"], total)
    np.testing.assert_array_equal(infos["episode"]["l"], 5)
