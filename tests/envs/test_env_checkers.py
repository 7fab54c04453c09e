"""Gymnasium's and Stable-Baselines3's checkers, for every preset and encoding; any warning not listed is an error."""

import warnings

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from support.toy import SMALL

from wdmoe_env.envs.codecs import ACTIONS, OBSERVATIONS
from wdmoe_env.envs.ids import id_of

ALLOWED = {
    # `device` is a (U, F) table and `dict` holds the (J, E) gate weights; SB3 only knows vectors and images.
    "unconventional shape": r"Your observation .* has an unconventional shape",
    # `native` says what the decision is, for policies of one's own; for SB3 there are `token` and `price`.
    "Dict action": r"The action space is not based off a numpy array",
}
ENCODINGS = [(a, o) for a in ACTIONS for o in OBSERVATIONS]


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


@pytest.mark.parametrize("name", SMALL)
def test_nobody_has_anything_to_say_of_an_id(name):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    env = gym.make(id_of(name), overrides=SMALL[name]).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(env, skip_render_check=True)
        checker.check_env(env, skip_render_check=True)


@pytest.mark.slow
def test_pictures_are_checked_too():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*render_mode='human' shows nothing")
        gymnasium_check(gym.make("WDMoE-paper-v0", overrides=SMALL["paper"], render_mode="rgb_array").unwrapped)
