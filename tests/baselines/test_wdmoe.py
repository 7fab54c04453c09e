"""The joint optimizer against its rules written out token by token, and its two solvers against each other."""

from typing import Any

import numpy as np
import pytest

import baselines
from baselines.wdmoe import cosine_similarity, lowest
from wdmoe_env import Decision, Simulator, load_scenario
from wdmoe_env.system import selection


def policy_for(scenario, num_envs, **options):
    policy = baselines.make("wdmoe", **options)
    policy.reset(scenario, num_envs)
    return policy


def by_the_rules(observation, scenario, env, thresholds, improvement=1.01):
    """System model (R), steps 1 to 3, for one environment."""
    weights, radio, compute = observation.gate_weights[env].astype(float), scenario.radio_link, scenario.compute_model
    tokens, experts = weights.shape
    host, k = scenario.hosts, scenario.model.top_k
    band = radio.bandwidth_hz / scenario.num_devices

    def token_time(chosen):
        seconds = np.zeros(scenario.num_devices)
        for device in range(scenario.num_devices):
            sending = 0.0
            for gain, power in (
                (observation.gain_dl[env, device], radio.bs_power_w),
                (observation.gain_ul[env, device], radio.device_power_w),
            ):
                sending += radio.payload_bits / (band * np.log2(1 + power * gain / (radio.noise_w_per_hz * band)))
            counts = chosen[:, host == device].sum(axis=0)
            counts = counts[counts > 0] if counts.any() else np.ones(1)
            busy = (compute.fixed_s[device] + counts * compute.token_s[device]).sum() / (
                1 - observation.load[env, device]
            )
            seconds[device] = sending + busy / counts.sum()
        return seconds[host]

    def token_wlr(chosen):
        time = token_time(chosen)
        return np.mean([np.mean(weights[j, chosen[j]] / time[chosen[j]]) for j in range(tokens)])

    plain = np.zeros((tokens, experts), dtype=bool)
    for j in range(tokens):
        plain[j, np.argsort(-weights[j], kind="stable")[:k]] = True
    time = token_time(plain)
    for theta in thresholds:
        chosen = plain.copy()
        for j in range(tokens):
            similarity = weights[j] @ time / (np.linalg.norm(weights[j]) * np.linalg.norm(time))
            if similarity <= theta and plain[j].sum() > 1:
                chosen[j, np.where(plain[j], weights[j], np.inf).argmin()] = False
        if token_wlr(chosen) > improvement * token_wlr(plain):
            break
    return chosen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("paper", {}),
        ("mobile", {"model": {"top_k": 3}}),
        ("jetson", {}),
        ("paper", {"devices": [{"name": "d", "count": 3, "compute": {"kind": "linear", "flops_per_s": 1e13}}]}),
    ],
)
@pytest.mark.parametrize("improvement", [1.01, 1.3])
def test_selection_follows_the_rules(preset, overrides, improvement):
    scenario = load_scenario(preset, gating={"bank_passes": 2}, **overrides)
    observation = Simulator(scenario, 6).reset(3)
    policy = policy_for(scenario, 6, improvement=improvement, theta_start=0.5, keep_floor=False)
    np.testing.assert_allclose(policy.thresholds, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    chosen = policy.decide(observation).selection
    for env in range(6):
        expected = by_the_rules(observation, scenario, env, policy.thresholds, improvement)
        np.testing.assert_array_equal(chosen[env], expected)


def test_an_aim_out_of_reach_drops_one_expert_of_every_token():
    scenario = load_scenario("paper", gating={"bank_passes": 1}, model={"top_k": 3})
    observation = Simulator(scenario, 2).reset(0)
    chosen = policy_for(scenario, 2, improvement=100.0, keep_floor=False).decide(observation).selection
    assert (chosen.sum(axis=2) == 2).all()
    np.testing.assert_array_equal(chosen, selection.top_k(observation.gate_weights, 2))


@pytest.mark.parametrize(
    ("options", "thresholds"),
    [
        ({"theta_start": 1.0}, [1.0]),
        ({"theta_start": 0.5, "theta_step": 0.3}, [0.5, 0.8, 1.0]),
        ({"theta_step": 5.0}, [0.1, 1.0]),
    ],
)
def test_thresholds_end_at_one(options, thresholds):
    policy: Any = baselines.make("wdmoe", **options)
    np.testing.assert_allclose(policy.thresholds, thresholds)


def test_cosine_similarity_by_hand():
    weights = np.array([[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]])
    np.testing.assert_allclose(cosine_similarity(weights, np.array([[3.0, 0.0]])), [[1.0, 0.6, 0.0]])


def test_lowest_marks_one_of_equal_ones_and_never_the_last():
    weights = np.array([[[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.2, 0.2, 0.6]]])
    chosen = np.array([[[True, True, False], [True, True, False], [False, False, True]]])
    expected = [[[False, True, False], [False, True, False], [False, False, False]]]
    np.testing.assert_array_equal(lowest(weights, chosen), expected)


def test_slsqp_finds_the_same_latency():
    scenario = load_scenario("paper", gating={"bank_passes": 1})
    latency = {}
    for solver in ("newton", "slsqp"):
        simulator = Simulator(scenario, 20)
        decision = policy_for(scenario, 20, solver=solver).decide(simulator.reset(0))
        latency[solver] = simulator.step(decision).metrics["latency"]
    np.testing.assert_allclose(latency["slsqp"], latency["newton"], rtol=1e-6)
    assert (latency["newton"] <= latency["slsqp"] * (1 + 1e-9)).all()


@pytest.mark.slow
def test_faster_than_allocation_alone_at_little_mass():
    scenario = load_scenario("paper")
    simulator = Simulator(scenario, 50, "test")
    policy, observation = policy_for(scenario, 50), simulator.reset(0)
    ratio, mass = [], []
    for _ in range(scenario.steps_per_episode):
        decision = policy.decide(observation)
        assert isinstance(decision, Decision)
        outcome = simulator.step(decision)
        observation = outcome.observation
        ratio.append(outcome.metrics["latency"] / outcome.metrics["latency_top_k"])
        mass.append(outcome.metrics["retained_mass"])
    assert np.mean(ratio) < 0.645
    assert np.mean(mass) > 0.97
