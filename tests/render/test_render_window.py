"""The live window of `render_mode="human"`, in a backend whose windows exist only here, and without any."""

import sys
import types
import warnings
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from support.toy import SMALL

from wdmoe_env.envs.env import WDMoEEnv

pytest.importorskip("matplotlib")


def make():
    return WDMoEEnv("paper", overrides=SMALL["paper"], render_mode="human")


@pytest.fixture
def window(monkeypatch):
    """Make matplotlib draw to a window that exists only here; return what was done with it."""
    import matplotlib.pyplot as plt
    from matplotlib.backend_bases import FigureManagerBase
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    done = []

    class Manager(FigureManagerBase):
        def show(self):
            done.append("show")

    class Canvas(FigureCanvasAgg):
        manager_class = Manager

        def draw(self):
            done.append("draw")
            super().draw()

        def start_event_loop(self, timeout=0):
            done.append(timeout)

    backend: Any = types.ModuleType("one_window")
    backend.FigureCanvas, backend.FigureManager = Canvas, Manager
    monkeypatch.setitem(sys.modules, "one_window", backend)
    before = plt.get_backend()
    plt.switch_backend("module://one_window")
    yield done
    plt.close("all")
    plt.switch_backend(before)


@pytest.mark.slow
def test_human_shows_one_live_window(window):
    import matplotlib.pyplot as plt

    env = make()
    env.reset(seed=0)
    assert window == ["show", "draw", 0.25]
    env.step(env.action_space.sample())
    assert env.render() is None
    assert window.count("show") == 1
    assert window.count("draw") == 3
    assert len(plt.get_fignums()) == 1
    env.close()
    assert plt.get_fignums() == []


@pytest.mark.slow
def test_a_window_that_was_closed_stays_closed(window):
    import matplotlib.pyplot as plt

    env = make()
    env.reset(seed=0)
    plt.close("all")
    env.step(env.action_space.sample())
    assert plt.get_fignums() == []
    assert window.count("draw") == 1


def test_human_without_a_display_warns_once_and_goes_on():
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    env = make()
    with pytest.warns(UserWarning, match="'agg' has no window"):
        env.reset(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.step(env.action_space.sample())
        env.reset()
    assert plt.get_fignums() == []


@pytest.mark.slow
def test_gymnasium_checks_both_render_modes(window):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make("WDMoE-v0", overrides=SMALL["paper"]).unwrapped)
