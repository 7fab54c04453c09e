"""Gymnasium's and Stable-Baselines3's checkers, for every preset and encoding; any warning not listed is an error."""

import warnings

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from support.toy import SMALL

ALLOWED = {
    # `device` is a (U, F) table and `dict` holds the (J, E) gate weights; SB3 only knows vectors and images.
    "unconventional shape": r"Your observation .* has an unconventional shape",
    # `native` says what the decision is, for policies of one's own; for SB3 there are `token` and `price`.
    "Dict action": r"The action space is not based off a numpy array",
}
ENCODINGS = [(a, o) for a in ("native", "token", "price", "expert-price") for o in ("dict", "flat", "device", "expert")]


def make(name, action, observation, **settings):
    options = {"action": action, "observation": observation, "overrides": {**SMALL[name], **settings}}
    return gym.make("WDMoE-v0", scenario=name, **options).unwrapped


@pytest.mark.slow
@pytest.mark.parametrize(("action", "observation"), ENCODINGS)
@pytest.mark.parametrize("name", SMALL)
def test_gymnasium_finds_nothing_to_say(name, action, observation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(make(name, action, observation), skip_render_check=True)


@pytest.mark.slow
@pytest.mark.parametrize(("action", "observation"), ENCODINGS)
@pytest.mark.parametrize("name", SMALL)
def test_stable_baselines_warns_of_nothing_that_is_not_listed(name, action, observation):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for message in ALLOWED.values():
            warnings.filterwarnings("ignore", message, UserWarning)
        checker.check_env(make(name, action, observation), skip_render_check=True)


def test_what_an_agent_uses_by_default_passes_with_the_shape_warning_alone():
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checker.check_env(make("paper", "price", "device", bandwidth="learned"), skip_render_check=True)
    assert len(caught) == 1
    assert "unconventional shape" in str(caught[0].message)
