"""Gate weights of a real router in the place of the bank's."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from support.toy import preset, random_decision, same_rng, toy

import baselines
from wdmoe_env import Observation, Scenario, Simulator
from wdmoe_env.envs.features import device_features
from wdmoe_env.system import selection


def same(one: Observation, other: Observation) -> None:
    for name in (field.name for field in fields(Observation)):
        first, second = getattr(one, name), getattr(other, name)
        if name == "plain":
            first, second = first.table, second.table
        np.testing.assert_array_equal(first, second, err_msg=name)


@pytest.mark.parametrize(
    "scenario", [toy(), preset("mobile"), preset("jetson"), preset("cell-64")], ids=lambda s: s.name
)
def test_the_banks_own_weights_change_nothing(scenario: Scenario) -> None:
    plain, shown = Simulator(scenario, 3), Simulator(scenario, 3)
    plain.reset(5)
    shown.reset(5)
    rng = np.random.default_rng(0)
    for _ in range(2 * scenario.model.layers if scenario.model.layers < 4 else 4):
        # Another memory layout, as a real router would give it.
        seen = shown.show_gates(np.ascontiguousarray(shown.observation.gate_weights))
        same(plain.observation, seen)
        assert seen.gate_weights.strides == plain.observation.gate_weights.strides
        assert seen.routed is not None
        assert not seen.routed.flags.writeable
        decision = random_decision(scenario, 3, rng)
        one, other = plain.step(decision), shown.step(decision)
        for name, values in one.metrics.items():
            np.testing.assert_array_equal(values, other.metrics[name], err_msg=name)
    assert same_rng(plain, shown)


def test_everything_follows_from_the_weights_that_are_shown() -> None:
    scenario = toy()
    simulator, policy = Simulator(scenario, 4), baselines.make("top-k")
    policy.reset(scenario, 4)
    before = simulator.reset(1)
    reference, features = simulator.reference(), device_features(before, scenario)
    weights = np.random.default_rng(2).dirichlet(np.full(5, 0.3), size=(4, 6))
    seen = simulator.show_gates(weights)
    np.testing.assert_allclose(seen.gate_weights, weights, rtol=1e-6)
    np.testing.assert_array_equal(seen.gain_dl, before.gain_dl)
    assert (simulator.reference() != reference).all()
    assert not np.array_equal(device_features(seen, scenario), features)
    same(simulator.observation, seen)
    np.testing.assert_array_equal(simulator.true_observation().gate_weights, seen.gate_weights)
    outcome = simulator.step(policy.decide(seen))
    np.testing.assert_allclose(outcome.reward, 1.0, rtol=1e-12)
    np.testing.assert_allclose(outcome.metrics["retained_mass"], 1.0, rtol=1e-6)
    mass = (weights * selection.top_k(weights, 2)).sum(axis=(1, 2))
    np.testing.assert_allclose(outcome.metrics["wlr"] * outcome.metrics["latency"], mass, rtol=1e-6)


def test_only_the_layer_that_is_decided_next_is_changed() -> None:
    scenario = toy()
    plain, shown = Simulator(scenario, 2), Simulator(scenario, 2)
    plain.reset(3)
    shown.reset(3)
    decision = random_decision(scenario, 2, np.random.default_rng(0))
    shown.show_gates(np.full((2, 6, 5), 0.2))
    # Times follow from the selection and the split alone, so both cells go on alike.
    same(plain.step(decision).observation, shown.step(decision).observation)


def test_the_array_that_was_shown_is_copied() -> None:
    simulator = Simulator(toy(), 2)
    simulator.reset(0)
    weights = np.full((2, 6, 5), 0.2, dtype=np.float32)
    seen = simulator.show_gates(weights)
    weights[:] = 0.0
    assert (seen.gate_weights == np.float32(0.2)).all()


def test_a_restored_state_shows_the_bank_again() -> None:
    simulator = Simulator(toy(), 2)
    before = simulator.reset(0)
    state = simulator.state()
    simulator.show_gates(np.full((2, 6, 5), 0.2))
    same(simulator.restore(state), before)


def changed(value: float) -> np.ndarray:
    weights = np.full((2, 6, 5), 0.2)
    weights[1, 3, 2] = value
    return weights


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.full((2, 5, 6), 1 / 6), r"shape \(2, 5, 6\), expected \(environments, tokens, experts\) = \(2, 6, 5\)"),
        (0.2, r"shape \(\), expected"),
        (changed(np.nan), "not finite"),
        (changed(np.inf), "not finite"),
        (changed(-0.2), r"holds -0\.2, expected only numbers of at least 0"),
        (changed(0.3), r"environment 1, token 3 sum to 1\.1, expected 1"),
    ],
)
def test_weights_that_are_no_softmax_are_refused(weights: np.ndarray, message: str) -> None:
    simulator = Simulator(toy(), 2)
    simulator.reset(0)
    with pytest.raises(ValueError, match=message):
        simulator.show_gates(weights)


def test_weights_are_shown_after_a_reset() -> None:
    with pytest.raises(RuntimeError, match="reset"):
        Simulator(toy(), 2).show_gates(np.full((2, 6, 5), 0.2))
