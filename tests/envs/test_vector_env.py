"""The vector environment: native batches, every mode of autoreset, the same as the single one."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from support.toy import SMALL

from wdmoe_env.envs.codecs import ACTIONS, OBSERVATIONS
from wdmoe_env.envs.infos import KEYS
from wdmoe_env.envs.vector_env import WDMoEVectorEnv
from wdmoe_env.system import metrics

SHORT = {"model": {"layers": 5}, "traffic": {"passes_per_episode": 1}}
MODES = list(AutoresetMode)


def make(num_envs, name="paper", overrides=None, **options) -> Any:
    merged = {**SMALL[name], **(overrides or {})}
    return gym.make_vec("WDMoE-v0", num_envs, "vector_entry_point", scenario=name, overrides=merged, **options)


def zeros(envs: Any) -> Any:
    return np.zeros(envs.action_space.shape, dtype=np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("observation", list(OBSERVATIONS))
@pytest.mark.parametrize("action", list(ACTIONS))
@pytest.mark.parametrize("num_envs", [1, 64])
def test_batches_lie_in_their_spaces(num_envs, action, observation):
    envs = make(
        num_envs, overrides=SHORT, action=action, observation=observation, autoreset_mode=AutoresetMode.SAME_STEP
    )
    assert envs.num_envs == num_envs
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
        assert {name: (infos[key].dtype, infos[key].shape) for name, key in KEYS.items()} == {
            name: (np.dtype(kind), (num_envs,)) for name, kind in metrics.SCHEMA.items()
        }
        assert all(infos[f"_{key}"].all() for key in KEYS.values())


@pytest.mark.slow
@pytest.mark.parametrize("observation", ["dict", "device", "device-flat"])
@pytest.mark.parametrize("name", ["paper", "jetson", "mobile"])
def test_a_single_environment_is_the_vector_of_one_across_episodes(name, observation):
    options = {"observation": observation, "action": "price"}
    env = gym.make("WDMoE-v0", scenario=name, overrides={**SMALL[name], **SHORT}, **options)
    envs = make(1, name, SHORT, autoreset_mode="SameStep", **options)
    rng = np.random.default_rng(0)
    np.testing.assert_equal(only(envs.reset(seed=9)[0]), env.reset(seed=9)[0])
    for _ in range(12):
        action = rng.uniform(-1, 1, 8).astype(np.float32)
        seen, reward, _, truncated, infos = envs.step(action[None])
        alone, lone_reward, _, lone_truncated, info = env.step(action)
        assert (reward[0], truncated[0]) == (lone_reward, lone_truncated)
        assert {key: infos[key][0] for key in KEYS.values()} == info
        if lone_truncated:
            assert infos["_final_obs"].all()
            np.testing.assert_equal(infos["final_obs"][0], alone)
            alone = env.reset()[0]
        else:
            assert "final_obs" not in infos
        np.testing.assert_equal(only(seen), alone)


def only(batch: Any) -> Any:
    return {name: values[0] for name, values in batch.items()} if isinstance(batch, dict) else batch[0]


@pytest.mark.parametrize("observation", ["dict", "device-flat"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_that_of_gymnasiums_own_vector_environment(mode, observation):
    options = {"scenario": "mobile", "overrides": {**SMALL["mobile"], **SHORT}, "observation": observation}
    reference = gym.vector.SyncVectorEnv([lambda: gym.make("WDMoE-v0", **options)], autoreset_mode=mode)
    envs, rng = make(1, "mobile", SHORT, observation=observation, autoreset_mode=mode), np.random.default_rng(0)
    assert envs.autoreset_mode is envs.metadata["autoreset_mode"] is mode
    compared = [(envs.reset(seed=3), reference.reset(seed=3))]
    for step in range(1, 14):
        action = rng.uniform(-1, 1, (1, 8)).astype(np.float32)
        found, expected = envs.step(action), reference.step(action)
        for one, other in zip(found[1:4], expected[1:4], strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
        compared.append(((found[0], found[4]), (expected[0], expected[4])))
        if mode is AutoresetMode.DISABLED and step % 5 == 0:
            mask = {"reset_mask": np.ones(1, dtype=bool)}
            compared.append((envs.reset(options=mask), reference.reset(options=dict(mask))))
    for (seen, infos), (other, others) in compared:
        np.testing.assert_equal(seen, other)
        assert infos.keys() == others.keys()
        # In the step that ends an episode ours go on telling of it, Gymnasium's tell of the reset.
        same = set(infos) if "final_obs" not in infos else {"final_obs", "_final_obs", "final_info", "_final_info"}
        for key in same:
            one, another = (list(told[key]) if key == "final_obs" else told[key] for told in (infos, others))
            np.testing.assert_equal(one, another, err_msg=key)


def test_next_step_is_the_default_and_other_modes_do_not_change_it_for_all():
    make(1, autoreset_mode=AutoresetMode.DISABLED)
    assert make(1).autoreset_mode is WDMoEVectorEnv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def test_an_unknown_mode_is_named():
    with pytest.raises(ValueError, match="autoreset_mode is 'never', expected an AutoresetMode or one of 'NextStep'"):
        make(1, autoreset_mode="never")


def test_every_episode_has_its_first_layer_with_next_step():
    envs = make(2, overrides=SHORT, observation="dict")
    layers = [envs.reset(seed=0)[0]["layer"][0, 0]]
    for _ in range(12):
        layers.append(envs.step(zeros(envs))[0]["layer"][0, 0])
    # The observation after the last layer is one of the end, which wraps around.
    np.testing.assert_allclose(layers[:6], [0, 0.25, 0.5, 0.75, 1, 0])
    np.testing.assert_allclose(layers[6:12], layers[:6])


def test_without_autoreset_a_step_past_the_end_is_refused():
    envs = make(2, overrides=SHORT, autoreset_mode=AutoresetMode.DISABLED)
    envs.reset(seed=0)
    for _ in range(5):
        truncated = envs.step(zeros(envs))[3]
    assert truncated.all()
    with pytest.raises(RuntimeError, match="autoreset_mode is DISABLED: call reset"):
        envs.step(zeros(envs))
    envs.reset()
    envs.step(zeros(envs))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([True, True], r"expected a bool array of shape \(2,\)"),
        (np.ones(2), r"expected a bool array of shape \(2,\)"),
        (np.ones(3, dtype=bool), r"expected a bool array of shape \(2,\)"),
        (np.array([True, False]), "resets 1 of 2 environments, expected all"),
        (np.zeros(2, dtype=bool), "resets 0 of 2 environments, expected all"),
    ],
)
def test_a_mask_resets_all_or_is_refused(mask, message):
    envs = make(2, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match=message):
        envs.reset(options={"reset_mask": mask})


def test_episodes_may_end_before_the_scenario_does():
    envs = make(2, overrides=SHORT, max_episode_steps=3)
    envs.reset(seed=0)
    assert [bool(envs.step(zeros(envs))[3].all()) for _ in range(8)] == [False, False, True, False] * 2


def test_what_was_returned_does_not_change_later():
    envs = make(3, "mobile", SHORT)
    first, _ = envs.reset(seed=0)
    kept = first.copy()
    seen, reward, *_, infos = envs.step(zeros(envs))
    copies = seen.copy(), reward.copy(), infos["metrics/latency"].copy()
    for _ in range(6):
        envs.step(np.full((3, 8), 0.5, dtype=np.float32))
    np.testing.assert_array_equal(first, kept)
    for array, copy in zip((seen, reward, infos["metrics/latency"]), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_environments_of_a_batch_differ():
    seen, _ = make(8).reset(seed=0)
    assert len({row.tobytes() for row in seen}) == 8


@pytest.mark.parametrize("seed", [[1, 2], (1, 2), "1", 1.5, True])
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
        (np.full((2, 8), -np.inf), "action spans -inf"),
    ],
)
def test_bad_actions_are_refused_by_name(actions, message):
    envs = make(2)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        envs.step(actions)


def test_actions_outside_of_the_box_are_clipped_with_one_warning_or_refused():
    envs, other, strict = make(2), make(2), make(2, strict=True)
    for one in (envs, other, strict):
        one.reset(seed=0)
    with pytest.warns(UserWarning, match="action spans 2 to 2, outside of its box from -1 to 1, and is clipped"):
        found = envs.step(np.full((2, 8), 2.0))
    np.testing.assert_array_equal(found[1], other.step(np.ones((2, 8)))[1])
    with pytest.raises(ValueError, match=r"action spans 2\.0 to 2\.0, expected numbers from -1 to 1"):
        strict.step(np.full((2, 8), 2.0))


@pytest.mark.slow
def test_pictures_of_all_cells():
    envs = make(2, overrides=SHORT, render_mode="rgb_array")
    assert envs.render_mode == "rgb_array"
    envs.reset(seed=0)
    envs.step(zeros(envs))
    one, two = envs.render()
    assert one.shape == two.shape == (800, 1280, 3)
    assert not np.array_equal(one, two)
    env = gym.make("WDMoE-v0", overrides={**SMALL["paper"], **SHORT}, render_mode="rgb_array")
    env.reset(seed=0)
    alone = make(1, overrides=SHORT, render_mode="rgb_array")
    alone.reset(seed=0)
    env.step(np.zeros(8, dtype=np.float32)), alone.step(zeros(alone))
    np.testing.assert_array_equal(alone.render()[0], env.render())
    envs.close()


def test_attributes_of_each_environment():
    envs = make(2)
    assert envs.get_attr("scenario") == (envs.scenario, envs.scenario)
    assert envs.call("render") == (None, None)
    with pytest.raises(AttributeError, match="'step' cannot be called on single cells"):
        envs.call("step", 1)
    with pytest.raises(AttributeError, match="'scenario' cannot be set"):
        envs.set_attr("scenario", None)
    with pytest.raises(AttributeError, match="nothing"):
        envs.get_attr("nothing")


def test_a_window_shows_one_environment():
    with pytest.raises(ValueError, match="render_mode is 'human', expected None or 'rgb_array'"):
        WDMoEVectorEnv(2, render_mode="human")


@pytest.mark.parametrize("mode", MODES)
def test_episode_statistics_of_gymnasium_work_on_it(mode):
    envs = gym.wrappers.vector.RecordEpisodeStatistics(make(2, overrides=SHORT, autoreset_mode=mode))
    envs.reset(seed=0)
    total = np.zeros(2)
    for _ in range(5):
        _, reward, _, truncated, infos = envs.step(np.full((2, 8), -1.0, dtype=np.float32))
        total += reward
    assert truncated.all()
    np.testing.assert_allclose(infos["episode"]["r"], total)
    np.testing.assert_array_equal(infos["episode"]["l"], 5)


WRAPPERS: dict[str, Any] = {
    "ArrayConversion": None,  # for other libraries' arrays
    "HumanRendering": None,  # needs pygame
    "JaxToNumpy": None,
    "JaxToTorch": None,
    "NumpyToTorch": lambda envs: gym.wrappers.vector.NumpyToTorch(envs),
    "RecordVideo": None,  # needs moviepy
    "ClipAction": gym.wrappers.vector.ClipAction,
    "ClipReward": lambda envs: gym.wrappers.vector.ClipReward(envs, 0.0, 1.0),
    "DictInfoToList": gym.wrappers.vector.DictInfoToList,
    "DtypeObservation": lambda envs: gym.wrappers.vector.DtypeObservation(envs, np.float64),
    "FilterObservation": None,  # for Dict observations, see below
    "FlattenObservation": gym.wrappers.vector.FlattenObservation,
    "GrayscaleObservation": None,  # for images
    "NormalizeObservation": gym.wrappers.vector.NormalizeObservation,
    "NormalizeReward": gym.wrappers.vector.NormalizeReward,
    "RecordEpisodeStatistics": gym.wrappers.vector.RecordEpisodeStatistics,
    "RescaleAction": lambda envs: gym.wrappers.vector.RescaleAction(envs, 0.0, 1.0),
    "RescaleObservation": lambda envs: gym.wrappers.vector.RescaleObservation(envs, 0.0, 1.0),
    "ReshapeObservation": lambda envs: gym.wrappers.vector.ReshapeObservation(envs, (8, 39)),
    "ResizeObservation": None,  # for images
    "TransformAction": lambda envs: gym.wrappers.vector.TransformAction(envs, lambda action: -action),
    "TransformObservation": lambda envs: gym.wrappers.vector.TransformObservation(envs, lambda seen: seen),
    "TransformReward": lambda envs: gym.wrappers.vector.TransformReward(envs, lambda reward: 2.0 * reward),
    "VectorizeTransformAction": lambda envs: gym.wrappers.vector.VectorizeTransformAction(
        envs, gym.wrappers.RescaleAction, min_action=0.0, max_action=1.0
    ),
    "VectorizeTransformObservation": lambda envs: gym.wrappers.vector.VectorizeTransformObservation(
        envs, gym.wrappers.DtypeObservation, dtype=np.float64
    ),
    "VectorizeTransformReward": lambda envs: gym.wrappers.vector.VectorizeTransformReward(
        envs, gym.wrappers.TransformReward, func=lambda reward: reward
    ),
}


def test_no_wrapper_of_gymnasium_was_forgotten():
    assert set(gym.wrappers.vector.__all__) <= WRAPPERS.keys()


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # in Gymnasium's Box
@pytest.mark.parametrize("name", [name for name, wrap in WRAPPERS.items() if wrap is not None])
def test_gymnasiums_vector_wrappers_run_on_it(name):
    if name not in gym.wrappers.vector.__all__:
        pytest.skip("not in this version of Gymnasium")
    envs = WRAPPERS[name](make(2, overrides=SHORT))
    envs.reset(seed=0)
    ends = []
    for _ in range(12):
        action = zeros(envs)
        if name == "NumpyToTorch":
            import torch

            action = torch.from_numpy(action)
        seen, _, _, truncated, _ = envs.step(action)
        ends.append(bool(truncated.all()))
        assert len(seen) == 2
    assert [step for step, end in enumerate(ends) if end] == [4, 10]
