"""Dynamic skipping and random routing against their rules."""

import numpy as np
import pytest

import baselines
from baselines import slsqp
from wdmoe_env import Simulator, allocation, load_scenario
from wdmoe_env.system import bandwidth, selection

SCENARIO = load_scenario("paper", gating={"bank_passes": 2})


def decide(name, num_envs=4, scenario=SCENARIO, **options):
    policy = baselines.make(name, **options)
    policy.reset(scenario, num_envs)
    observation = Simulator(scenario, num_envs).reset(0)
    return observation, policy.decide(observation)


@pytest.mark.parametrize("beta", [0.1, 0.45])
def test_skipping_against_a_loop(beta):
    observation, decision = decide("dynamic-skipping", beta=beta, keep_floor=False)
    for env, token in np.ndindex(4, 64):
        weights = observation.gate_weights[env, token]
        first, second = np.argsort(-weights)[:2]
        expected = {first, second} if weights[second] >= beta * weights[first] else {first}
        assert set(np.flatnonzero(decision.selection[env, token])) == expected


def test_skipping_ends_at_top_k_and_at_the_best_alone():
    for beta, k in ((0.0, 2), (1.0, 1)):
        observation, decision = decide("dynamic-skipping", beta=beta, keep_floor=False)
        np.testing.assert_array_equal(decision.selection, selection.top_k(observation.gate_weights, k))


def test_skipping_with_uniform_bandwidth():
    _, decision = decide("dynamic-skipping", bandwidth="uniform")
    np.testing.assert_array_equal(decision.bandwidth, SCENARIO.radio.bandwidth_hz / 8)


def test_random_keeps_every_subset_equally_often():
    scenario = load_scenario("paper", gating={"bank_passes": 1}, model={"top_k": 3})
    observation, decision = decide("random", num_envs=200, scenario=scenario)
    plain = selection.top_k(observation.gate_weights, 3)
    assert not (decision.selection & ~plain).any()
    bits = decision.selection[plain].reshape(-1, 3) @ [1, 2, 4]
    np.testing.assert_allclose(np.bincount(bits, minlength=8) / len(bits), [0] + [1 / 7] * 7, atol=0.01)
    np.testing.assert_allclose(decision.bandwidth.sum(axis=1), scenario.radio.bandwidth_hz)


def test_random_seeds_differ():
    _, one = decide("random", seed=1)
    _, other = decide("random", seed=2)
    assert (one.selection != other.selection).any()


def test_exact_allocation_is_what_the_observation_knows():
    observation, decision = decide("top-k+bandwidth")
    tokens, computation = allocation.demand(decision.selection, observation, SCENARIO)
    gains = observation.gain_dl, observation.gain_ul
    split, _ = bandwidth.allocate(tokens, computation, *gains, SCENARIO.radio_link)
    np.testing.assert_array_equal(decision.bandwidth, split)
    np.testing.assert_array_equal(tokens, decision.selection.sum(axis=1))
    reference = slsqp.allocate(tokens, computation, *gains, SCENARIO.radio_link)
    np.testing.assert_allclose(reference, split, rtol=1e-3)


def test_random_meets_other_numbers_in_other_episodes():
    scenario = load_scenario("paper", gating={"bank_passes": 16})
    shares = []
    for seed in (0, 0, 1):
        policy = baselines.make("random")
        policy.reset(scenario, 2)
        shares.append(policy.decide(Simulator(scenario, 2).reset(seed)).bandwidth)
    np.testing.assert_array_equal(shares[0], shares[1])
    assert not np.array_equal(shares[0], shares[2])
