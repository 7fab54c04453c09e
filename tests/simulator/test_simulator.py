"""The simulator: what a step yields, by the formulas; what it refuses; state and restore."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reference import reference_step
from support.toy import SMALL, preset, random_decision, same_rng, toy

from wdmoe_env import Decision, Simulator
from wdmoe_env.system import metrics, selection

ROUNDING = {"reward": 3e-5}
"""Gate weights are float32, and the penalty makes their rounding 20 times as large."""


def plain_decision(simulator):
    scenario = simulator.scenario
    chosen = selection.top_k(simulator.observation.gate_weights, scenario.model.top_k)
    band = scenario.radio.bandwidth_hz / scenario.num_devices
    return Decision(chosen, np.full((simulator.num_envs, scenario.num_devices), band))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    reward=st.fixed_dictionaries(
        {
            "metric": st.sampled_from(["wlr", "wlr_token", "wlr_device"]),
            "normalize": st.sampled_from(["top-k", "none"]),
            "scale": st.sampled_from(["linear", "log"]),
        }
    ),
    data=st.data(),
)
def test_a_step_agrees_with_the_formulas(seed, reward, data):
    devices = data.draw(st.integers(1, 4))
    experts = data.draw(st.integers(devices, 7))
    scenario = toy(devices, experts, data.draw(st.integers(1, experts)), reward=reward)
    simulator, rng = Simulator(scenario, 2), np.random.default_rng(seed)
    simulator.reset(seed)
    for _ in range(2):
        before, gain, load = simulator.observation, simulator.cell.gain.copy(), simulator.cell.load.copy()
        decision = random_decision(scenario, 2, rng)
        outcome = simulator.step(decision)
        for n in range(2):
            expected = reference_step(
                scenario,
                before.gate_weights[n].tolist(),
                decision.selection[n].tolist(),
                decision.bandwidth[n].tolist(),
                gain[n, 0].tolist(),
                gain[n, 1].tolist(),
                load[n].tolist(),
            )
            assert outcome.reward[n] == outcome.metrics["reward"][n]
            for name, value in expected.items():
                assert outcome.metrics[name][n] == pytest.approx(value, rel=1e-5, abs=ROUNDING.get(name, 0.0)), name


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(["paper", "jetson", "mobile"]))
def test_metrics_of_any_valid_decision_are_finite(seed, name):
    scenario = preset(name)
    simulator, rng = Simulator(scenario, 3), np.random.default_rng(seed)
    simulator.reset(seed)
    outcome = simulator.step(random_decision(scenario, 3, rng))
    assert list(outcome.metrics) == list(metrics.SCHEMA)
    for key, kind in metrics.SCHEMA.items():
        values = outcome.metrics[key]
        assert values.shape == (3,), key
        assert values.dtype == kind, key
        assert np.isfinite(values).all(), key
    assert (outcome.metrics["latency"] > 0).all()


def test_a_link_in_outage_costs_a_finite_time():
    scenario = toy(num_devices=2, experts=2, top_k=1, tokens=4, radio={"outage_s": 3.0})
    simulator = Simulator(scenario)
    simulator.reset(0)
    chosen = np.zeros((1, 4, 2), dtype=bool)
    chosen[..., 1] = True
    outcome = simulator.step(Decision(chosen, np.array([[scenario.radio.bandwidth_hz, 0.0]])))
    assert outcome.metrics["latency"][0] == pytest.approx(4 * 2 * 3.0, rel=1e-3)
    assert outcome.metrics["bottleneck"][0] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_plain_top_k_earns_exactly_one_at_every_step(name):
    simulator = Simulator(preset(name), 4, "test")
    simulator.reset(0)
    for _ in range(simulator.scenario.steps_per_episode):
        outcome = simulator.step(plain_decision(simulator))
        np.testing.assert_allclose(outcome.reward, 1.0, atol=1e-6)
        np.testing.assert_array_equal(outcome.metrics["latency"], outcome.metrics["latency_top_k"])
    assert outcome.truncated.all()


@pytest.mark.parametrize("name", ["paper", "jetson", "mobile"])
def test_a_restored_simulator_goes_on_exactly(name):
    scenario, rng = preset(name), np.random.default_rng(1)
    simulator, other = Simulator(scenario, 2), Simulator(scenario, 2)
    simulator.reset(3)
    decisions = [random_decision(scenario, 2, rng) for _ in range(40)]
    for decision in decisions[:30]:
        simulator.step(decision)
    kept = simulator.state()
    seen = other.restore(kept)
    np.testing.assert_array_equal(seen.gain_dl, simulator.observation.gain_dl)
    np.testing.assert_array_equal(seen.last_device_time, simulator.observation.last_device_time)
    for decision in decisions[30:]:
        here, there = simulator.step(decision), other.step(decision)
        np.testing.assert_array_equal(here.reward, there.reward)
        np.testing.assert_array_equal(here.observation.gate_weights, there.observation.gate_weights)
        np.testing.assert_array_equal(here.observation.load, there.observation.load)
    np.testing.assert_array_equal(simulator.reset().gain_ul, other.reset().gain_ul)


def test_steps_counts_since_the_reset():
    simulator = Simulator(toy())
    simulator.reset(0)
    simulator.step(plain_decision(simulator))
    assert simulator.steps == 1
    simulator.reset()
    assert simulator.steps == 0


def changed(selection=None, bandwidth=None):
    """Return a function that spoils one field of a decision."""

    def spoil(decision):
        return Decision(
            decision.selection if selection is None else selection(decision.selection.copy()),
            decision.bandwidth if bandwidth is None else bandwidth(decision.bandwidth.copy()),
        )

    return spoil


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


BAD = {
    "selection of the wrong shape": (changed(selection=lambda s: s[:, :-1]), r"decision\.selection has shape"),
    "selection of the wrong type": (changed(selection=lambda s: s.astype(int)), r"decision\.selection has dtype int"),
    "selection as a list": (changed(selection=lambda s: s.tolist()), r"decision\.selection"),
    "token without expert": (changed(selection=put((0, 0), False)), r"decision\.selection gives a token 0 experts"),
    "too many experts": (changed(selection=put((0, 0), True)), r"decision\.selection gives a token 5 .* top_k = 2"),
    "bandwidth of the wrong shape": (changed(bandwidth=lambda b: b[:, :-1]), r"decision\.bandwidth has shape"),
    "NaN bandwidth": (changed(bandwidth=put((0, 0), np.nan)), r"decision\.bandwidth holds nan"),
    "negative bandwidth": (changed(bandwidth=put((0, 0), -1.0)), r"decision\.bandwidth holds -1"),
    "infinite bandwidth": (changed(bandwidth=put((0, 0), np.inf)), r"decision\.bandwidth sums to inf"),
    "too much bandwidth": (changed(bandwidth=lambda b: b * 1.01), r"decision\.bandwidth sums to .* at most 1"),
    "bandwidth of no number": (changed(bandwidth=lambda b: b.astype(str)), r"decision\.bandwidth has dtype"),
    "bandwidth as a tensor": (
        changed(bandwidth=lambda b: torch.tensor(b)),
        r"decision\.bandwidth is a torch\.Tensor, expected a NumPy array of shape \(2, ",
    ),
    "bandwidth of different lengths": (
        changed(bandwidth=lambda b: [[1.0], [1.0, 2.0]]),
        r"decision\.bandwidth is a list, expected a NumPy array",
    ),
    "masked bandwidth": (
        changed(bandwidth=lambda b: np.ma.masked_less(b, 0.0)),
        r"decision\.bandwidth is a masked array, expected a plain one",
    ),
    "masked selection": (
        changed(selection=lambda s: np.ma.masked_array(s, ~s)),
        r"decision\.selection is a masked array",
    ),
    "complex bandwidth": (changed(bandwidth=lambda b: b.astype(complex)), r"decision\.bandwidth has dtype complex"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD)
def test_a_bad_decision_is_refused_by_name_and_changes_nothing(spoil, message):
    simulator = Simulator(toy(), 2)
    simulator.reset(0)
    good, before = plain_decision(simulator), simulator.copy()
    with pytest.raises(ValueError, match=message):
        simulator.step(spoil(good))
    assert same_rng(simulator, before)
    assert simulator.steps == 0
    np.testing.assert_array_equal(simulator.step(good).reward, before.step(good).reward)


@pytest.mark.filterwarnings("error")
def test_single_precision_with_an_idle_device_is_what_double_precision_is():
    simulator = Simulator(toy(), 2)
    simulator.reset(0)
    good = plain_decision(simulator)
    split = 0.999 * good.bandwidth
    split[:, 0] = 0.0
    single, double = (simulator.preview(Decision(good.selection, split.astype(kind))) for kind in ("f4", "f8"))
    for name, value in double.items():
        np.testing.assert_allclose(single[name], value, rtol=1e-6)


def test_step_before_reset_says_what_to_do():
    scenario = toy()
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        Simulator(scenario).step(random_decision(scenario, 1, np.random.default_rng(0)))


@pytest.mark.parametrize("num_envs", [True, 2.5, "3", None, np.float64(2.0)])
def test_num_envs_is_a_whole_number(num_envs):
    with pytest.raises(TypeError, match=r"num_envs is .*, expected a whole number"):
        Simulator(toy(), num_envs)


@pytest.mark.parametrize(("options", "message"), [({"num_envs": 0}, "num_envs is 0"), ({"split": "dev"}, "'dev'")])
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Simulator(toy(), **options)


@pytest.mark.parametrize("name", ["gain_dl", "gain_ul", "gate_weights", "load", "last_device_time", "routed"])
def test_a_policy_cannot_change_the_cell(name):
    simulator = Simulator(preset("paper"), 2)
    observation = simulator.reset(0)
    with pytest.raises(ValueError, match="read-only"):
        getattr(observation, name)[:] = 0


@pytest.mark.parametrize("name", ["paper", "mobile"])
def test_the_true_observation_has_the_true_channels_and_all_else_as_observed(name):
    simulator, rng = Simulator(preset(name), 3), np.random.default_rng(2)
    simulator.reset(2)
    for _ in range(3):
        simulator.step(random_decision(simulator.scenario, 3, rng))
    seen, true = simulator.observation, simulator.true_observation()
    np.testing.assert_array_equal(true.gain_dl, simulator.cell.gain[:, 0])
    np.testing.assert_array_equal(true.gain_ul, simulator.cell.gain[:, 1])
    assert np.array_equal(true.gain_dl, seen.gain_dl) == (name == "paper")
    assert np.array_equal(true.gain_ul, seen.gain_ul) == (name == "paper")
    for same in ("gate_weights", "load", "last_device_time", "layer", "routed"):
        np.testing.assert_array_equal(getattr(true, same), getattr(seen, same))
    for kept in ("gain_dl", "gain_ul", "gate_weights", "load", "last_device_time", "layer"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(true, kept)[...] = 0
    assert simulator.observation is seen


def test_the_true_observation_needs_a_reset():
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        Simulator(preset("paper")).true_observation()


def test_preview_is_what_step_brings_and_leaves_the_cell_as_it_is():
    scenario, rng = preset("mobile"), np.random.default_rng(0)
    simulator, untouched = Simulator(scenario, 4), Simulator(scenario, 4)
    simulator.reset(3), untouched.reset(3)
    for _ in range(3):
        decision, other = (random_decision(scenario, 4, rng) for _ in range(2))
        reference = simulator.reference()
        simulator.preview(other)
        seen = simulator.preview(decision)
        np.testing.assert_array_equal(simulator.reference(), reference)
        brought, expected = simulator.step(decision), untouched.step(decision)
        for name, values in expected.metrics.items():
            np.testing.assert_array_equal(seen[name], values)
            np.testing.assert_array_equal(brought.metrics[name], values)
        np.testing.assert_array_equal(simulator.reference(), untouched.reference())
