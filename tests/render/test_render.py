"""Pictures: what they show, that drawing changes nothing, what is said where there can be none."""

import sys

import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled
from support.toy import SMALL, preset, random_decision, toy

from wdmoe_env import Simulator
from wdmoe_env.envs.env import WDMoEEnv
from wdmoe_env.render import Renderer, Scene

pytest.importorskip("matplotlib")


def make(name="paper", render_mode="rgb_array", **options):
    return WDMoEEnv(name, overrides=SMALL[name], render_mode=render_mode, **options)


def scenes(scenario, steps=2):
    """Return the scene before the first step, and those of some random steps."""
    simulator, rng = Simulator(scenario), np.random.default_rng(0)
    simulator.reset(0)
    taken = [Scene.now(simulator)]
    for _ in range(steps):
        before = Scene.now(simulator)
        decision = random_decision(scenario, 1, rng)
        taken.append(before.after(decision, simulator.step(decision)))
    return taken


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_picture_before_and_after_a_step(name):
    env = make(name)
    env.reset(seed=0)
    before = env.render()
    env.step(env.action_space.sample())
    after = env.render()
    for picture in (before, after):
        assert picture.shape == (800, 1280, 3)
        assert picture.dtype == np.uint8
        assert picture.min() < 60 < 200 < picture.max()
    assert (before != after).any(axis=2).mean() > 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "mobile"])
def test_drawing_does_not_change_the_simulation(name):
    def rollout(render_mode):
        env, seen = make(name, render_mode), []
        env.action_space.seed(1)
        env.reset(seed=3)
        for _ in range(5):
            seen.append(env.step(env.action_space.sample())[:2])
            if render_mode is not None:
                env.render()
        return np.stack([table for table, _ in seen]), [reward for _, reward in seen]

    (drawn, drawn_rewards), (plain, rewards) = rollout("rgb_array"), rollout(None)
    np.testing.assert_array_equal(drawn, plain)
    assert drawn_rewards == rewards


@pytest.mark.slow
@pytest.mark.parametrize("make_scenario", [lambda: preset("mobile"), lambda: toy(3, 7, 4)])
def test_a_figure_that_is_used_again_shows_nothing_of_the_scene_before(make_scenario):
    first, second, third = scenes(make_scenario())
    renderer = Renderer()
    pictures = [renderer.draw(scene) for scene in (second, third, first)]
    for picture, scene in zip(pictures, (second, third, first), strict=True):
        np.testing.assert_array_equal(picture, Renderer().draw(scene))


@pytest.mark.slow
def test_the_environment_keeps_its_figure_until_it_is_closed():
    env = make()
    env.reset(seed=0)
    env.render()
    renderer = env._pictures._renderer
    env.step(env.action_space.sample())
    env.render()
    assert env._pictures._renderer is renderer
    env.close()
    assert env._pictures._renderer is None
    env.close()
    assert env.render().shape == (800, 1280, 3)


@pytest.mark.parametrize("make_scenario", [lambda: preset("jetson"), lambda: toy(3, 7, 4)])
def test_a_scene_tells_what_happened(make_scenario):
    scenario = make_scenario()
    simulator, rng = Simulator(scenario, 2), np.random.default_rng(0)
    simulator.reset(0)
    before, decision = Scene.now(simulator), random_decision(scenario, 2, rng)
    position = simulator.cell.position[0].copy()
    outcome = simulator.step(decision)
    scene = before.after(decision, outcome)
    times = scene.step.communication + scene.step.computation
    np.testing.assert_allclose(times, outcome.observation.last_device_time[0])
    assert scene.step.metrics["latency"] == pytest.approx(times.max())
    assert scene.step.metrics["bottleneck"] == times.argmax()
    busy = scenario.compute_model.per_device(decision.selection[:1].any(axis=1).astype(float))[0] > 0
    np.testing.assert_array_equal(times > 0, busy)
    np.testing.assert_array_equal(scene.position, position)
    assert (scene.layer, scene.forward_pass, before.step) == (0, 0, None)


def test_a_picture_counts_passes_and_layers():
    scenario = preset("jetson", model={"layers": 2}, traffic={"passes_per_episode": 2})
    assert [(s.forward_pass, s.layer) for s in scenes(scenario, 4)] == [(0, 0), (0, 0), (0, 1), (1, 0), (1, 1)]


def test_render_without_a_mode_says_how_to_get_one():
    env = make(render_mode=None)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode='rgb_array' or 'human'"):
        assert env.render() is None


def test_render_before_reset_says_what_to_do():
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        make().render()


def test_missing_matplotlib_tells_the_extra(monkeypatch):
    for module in [name for name in sys.modules if name.startswith(("matplotlib", "wdmoe_env.render.panels"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    env = make()
    env.reset(seed=0)
    with pytest.raises(DependencyNotInstalled, match=r"pip install wdmoe-env\[render\]"):
        env.render()
