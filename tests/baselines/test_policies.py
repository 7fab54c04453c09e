"""What holds for every baseline: valid decisions in every preset, no side effects, the same again after reset."""

import dataclasses

import numpy as np
import pytest

import baselines
from wdmoe_env import Observation, Policy, Simulator, load_scenario, preset_names

NAMES = [
    "top-k",
    "top-k+bandwidth",
    "wdmoe",
    "wdmoe-reconstructed",
    "wdmoe-testbed",
    "dynamic-skipping",
    "constant-price",
    "price",
    "random",
]


def small(preset, **overrides):
    return load_scenario(preset, gating={"bank_passes": 2}, **overrides)


def arrays(observation):
    fields = {field.name: getattr(observation, field.name) for field in dataclasses.fields(observation)}
    return {key: value for key, value in fields.items() if isinstance(value, np.ndarray)}


def run(policy, simulator, steps, seed=0):
    """Decisions and metrics of the first steps of an episode."""
    policy.reset(simulator.scenario, simulator.num_envs)
    observation = simulator.reset(seed)
    decisions, metrics = [], []
    for _ in range(steps):
        decisions.append(policy.decide(observation))
        outcome = simulator.step(decisions[-1])  # checks the decision
        observation = outcome.observation
        metrics.append(outcome.metrics)
    return decisions, metrics


def test_all_are_known():
    assert list(baselines.BASELINES) == NAMES
    assert all(baselines.make(name).name == name for name in NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("num_envs", [1, 5])
@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("name", NAMES)
def test_valid_and_the_same_again_after_reset(name, preset, num_envs):
    simulator = Simulator(small(preset), num_envs)
    policy = baselines.make(name)
    assert isinstance(policy, Policy)
    first, metrics = run(policy, simulator, steps=4)
    again, _ = run(policy, simulator, steps=4)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.selection, other.selection)
        np.testing.assert_array_equal(one.bandwidth, other.bandwidth)
    assert all(np.isfinite(value).all() for step in metrics for value in step.values())


@pytest.mark.parametrize("name", NAMES)
def test_several_experts_a_device(name):
    hosts = {"devices": [{"name": "board", "count": 3, "compute": {"kind": "linear", "flops_per_s": 1e13}}]}
    run(baselines.make(name), Simulator(small("paper", **hosts), 3), steps=4)


@pytest.mark.parametrize("name", NAMES)
def test_a_single_device_and_a_single_expert_a_token(name):
    alone = {"devices": [{"name": "board", "compute": {"kind": "linear", "flops_per_s": 1e13}}]}
    run(baselines.make(name), Simulator(small("paper", model={"top_k": 1}, **alone), 2), steps=3)


@pytest.mark.parametrize("name", NAMES)
def test_decide_leaves_the_observation_alone(name):
    simulator = Simulator(small("jetson"), 2)
    policy = baselines.make(name)
    run(policy, simulator, steps=2)
    observation = simulator.observation
    fields = arrays(observation)
    before = {key: value.copy() for key, value in fields.items()}
    decision = policy.decide(observation)
    decision.selection[:], decision.bandwidth[:] = False, 0.0
    for key, value in fields.items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[:-1])  # random draws for all environments from one generator
def test_environments_do_not_mix(name):
    scenario = small("mobile")
    policy, alone = baselines.make(name), baselines.make(name)
    simulator = Simulator(scenario, 3)
    policy.reset(scenario, 3)
    alone.reset(scenario, 1)
    observation = simulator.reset(0)
    for _ in range(4):
        one = {key: value[1:2] for key, value in arrays(observation).items()}
        mine, batch = alone.decide(Observation(**one)), policy.decide(observation)
        np.testing.assert_array_equal(mine.selection[0], batch.selection[1])
        np.testing.assert_allclose(mine.bandwidth[0], batch.bandwidth[1], rtol=1e-6)
        observation = simulator.step(batch).observation


def test_top_k_scores_exactly_one():
    _, metrics = run(baselines.make("top-k"), Simulator(small("paper"), 5), steps=32)
    for step in metrics:
        np.testing.assert_allclose(step["reward"], 1.0, rtol=1e-12)
        np.testing.assert_allclose(step["retained_mass"], 1.0, rtol=1e-6)


def test_allocation_cuts_latency_by_about_a_third():
    _, metrics = run(baselines.make("top-k+bandwidth"), Simulator(small("paper"), 50, "test"), steps=32)
    latency, plain = (np.sum([step[name] for step in metrics]) for name in ("latency", "latency_top_k"))
    assert 0.6 < latency / plain < 0.7


@pytest.mark.parametrize("name", NAMES)
def test_decide_before_reset_says_so(name):
    observation = Simulator(small("paper"), 1).reset(0)
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        baselines.make(name).decide(observation)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("best", {}, "baseline is 'best', expected one of top-k, top-k\\+bandwidth, wdmoe"),
        ("top-k", {"beta": 1}, "unknown option 'beta' of baseline 'top-k', which has no options"),
        ("wdmoe", {"theta": 0.5}, "unknown option 'theta' of baseline 'wdmoe', expected one of theta_start"),
        ("wdmoe", {"theta_start": 1.5}, "theta_start is 1.5, expected a number of at least 0 and at most 1"),
        ("wdmoe", {"theta_step": 0}, "theta_step is 0, expected a number of more than 0"),
        ("wdmoe", {"improvement": float("nan")}, "improvement is nan"),
        ("wdmoe", {"solver": "cvx"}, "solver is 'cvx', expected one of newton, slsqp"),
        ("wdmoe-testbed", {"smoothing": 0.0}, "smoothing is 0.0"),
        ("wdmoe-testbed", {"fraction": 2}, "fraction is 2"),
        ("dynamic-skipping", {"beta": "a"}, "beta is 'a', expected a number of at least 0 and at most 1"),
        ("dynamic-skipping", {"keep_floor": "yes"}, "keep_floor is 'yes', expected True or False"),
        ("dynamic-skipping", {"bandwidth": "all"}, "bandwidth is 'all', expected one of optimal, uniform"),
        ("random", {"seed": -1}, "seed is -1, expected a whole number"),
        ("random", {"seed": True}, "seed is True, expected a whole number"),
    ],
)
def test_wrong_names_and_options_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        baselines.make(name, **options)
