"""The `price` policy keeps its promises in every preset and in degenerate cells, and so do the bounds."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cells import GATES, gate_weights, observe, random_cells, scenario_of
from support.exhaustive import everything, selection_latency
from support.toy import SMALL, preset

import baselines
from baselines import bound
from wdmoe_env import Observation, Simulator, load_scenario
from wdmoe_env.system import selection

HOLDS = 1.0 + 1e-9


def decide(observation, scenario, **options):
    policy = baselines.make("price", **options)
    policy.reset(scenario, len(observation.load))
    return policy.decide(observation)


def mass_of(chosen, observation, top_k):
    """Retained mass (N,) in double precision."""
    weights = observation.gate_weights.astype(np.float64)
    plain = selection.top_k(observation.gate_weights, top_k)
    return (weights * chosen).sum(axis=(1, 2)) / (weights * plain).sum(axis=(1, 2))


def some_cells(seed=0, kind="linear", host=range(5), top_k=2, tokens=24, floor=0.95):
    rng = np.random.default_rng(seed)
    return random_cells(rng, scenario_of(rng, kind, list(host), top_k, tokens, floor), 12, low_db=-110.0)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("mass_floor", 1.1, "mass_floor is 1.1, expected a number of at least 0 and at most 1"),
        ("mass_floor", -0.1, "mass_floor is -0.1"),
        ("mass_floor", float("nan"), "mass_floor is nan"),
        ("mass_floor", "0.9", "mass_floor is '0.9'"),
        ("objective", "reward", "objective is 'reward', expected one of wlr, latency"),
        ("candidates", "none", "candidates is 'none', expected one of top-k, all"),
        ("steps", 0, "steps is 0, expected a whole number of at least 1"),
        ("steps", 2.0, "steps is 2.0"),
        ("rounds", -1, "rounds is -1, expected a whole number of at least 0"),
        ("rounds", True, "rounds is True"),
    ],
)
def test_wrong_options_are_named(option, value, message):
    with pytest.raises(ValueError, match=message):
        baselines.make("price", **{option: value})


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"candidates": "top-k"}, {"objective": "latency"}, {"steps": 1, "rounds": 0}])
@pytest.mark.parametrize("name", SMALL)
def test_floor_is_kept_in_every_layer(name, options):
    scenario, count = preset(name), 2 if name == "cell-64" else 6
    simulator, policy = Simulator(scenario, count, "test"), baselines.make("price", **options)
    policy.reset(scenario, count)
    observation = simulator.reset(0)
    for _ in range(2 if name == "cell-64" else min(scenario.steps_per_episode, 16)):
        outcome = simulator.step(policy.decide(observation))
        assert (outcome.metrics["retained_mass"] >= scenario.reward.mass_floor - 1e-6).all()
        observation = outcome.observation


@pytest.mark.parametrize("name", ["paper", "jetson", "mobile"])
def test_each_objective_is_better_at_its_own_aim(name):
    scenario = preset(name, reward={"mass_floor": 0.8})
    simulator = Simulator(scenario, 16, "test")
    simulator.reset(0)
    observation, latency, ratio = simulator.true_observation(), {}, {}
    for objective in ("wlr", "latency"):
        chosen = decide(observation, scenario, objective=objective).selection
        latency[objective] = selection_latency(chosen, observation, scenario)
        ratio[objective] = mass_of(chosen, observation, scenario.model.top_k) / latency[objective]
    assert (latency["latency"] < latency["wlr"] * 1.002).all()
    assert latency["latency"].mean() < latency["wlr"].mean() * 1.0005
    assert (ratio["wlr"] > ratio["latency"] * 0.999).all()
    assert ratio["wlr"].mean() > ratio["latency"].mean()


@pytest.mark.parametrize("mass_floor", [0.5, 0.8, 0.97, 1.0])
@pytest.mark.parametrize("objective", ["wlr", "latency"])
def test_mass_floor_overrides_the_scenario(objective, mass_floor):
    cells = some_cells(2)
    chosen = decide(cells.observation, cells.scenario, objective=objective, mass_floor=mass_floor).selection
    mass = mass_of(chosen, cells.observation, 2)
    assert (mass >= mass_floor - 1e-6).all()
    if objective == "latency" and mass_floor < 1.0:
        assert mass.mean() < mass_floor + 0.02


@pytest.mark.parametrize("kind", ["linear", "roofline"])
def test_floor_of_one_keeps_all_mass_of_plain_routing(kind):
    cells = some_cells(3, kind)
    chosen = decide(cells.observation, cells.scenario, mass_floor=1.0).selection
    np.testing.assert_allclose(mass_of(chosen, cells.observation, 2), 1.0, rtol=1e-7)


@pytest.mark.parametrize("objective", ["wlr", "latency"])
@pytest.mark.parametrize("host", [range(5), [0, 1, 1, 2, 0]])
def test_candidates_of_plain_routing_alone(host, objective):
    cells = some_cells(4, "roofline", host)
    chosen = decide(cells.observation, cells.scenario, candidates="top-k", objective=objective).selection
    plain = selection.top_k(cells.observation.gate_weights, 2)
    assert not (chosen & ~plain).any()
    assert (chosen & plain).sum() < plain.sum()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", "roofline"])
@pytest.mark.parametrize("objective", ["wlr", "latency"])
def test_a_batch_decides_as_its_cells_would_alone(kind, objective):
    cells = some_cells(5, kind)
    together = decide(cells.observation, cells.scenario, objective=objective).selection
    for cell in range(len(together)):
        names = [field.name for field in fields(Observation) if getattr(cells.observation, field.name) is not None]
        one = Observation(**{name: getattr(cells.observation, name)[[cell]] for name in names})
        alone = decide(one, cells.scenario, objective=objective).selection
        in_batch = together[[cell]]
        np.testing.assert_allclose(mass_of(in_batch, one, 2), mass_of(alone, one, 2), rtol=1e-6)
        latency = [selection_latency(chosen, one, cells.scenario) for chosen in (in_batch, alone)]
        np.testing.assert_allclose(*latency, rtol=1e-6)


@st.composite
def degenerate(draw):
    """A cell with at least one thing that is unusual, and often several."""
    devices = draw(st.integers(1, 4))
    host = draw(st.sampled_from([range(devices), [*range(devices), devices - 1]]))
    experts, tokens = len(host), draw(st.sampled_from([1, 1, 2, 5]))
    top_k = draw(st.integers(1, min(experts, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    floor = draw(st.sampled_from([0.0, 0.5, 0.95, 1.0]))
    scenario = scenario_of(rng, draw(st.sampled_from(["linear", "roofline"])), host, top_k, tokens, floor)
    if draw(st.booleans()):
        scenario = scenario.model_copy(update={"devices": scenario.devices[:1] * devices})  # equal devices
    weights = gate_weights(rng, draw(st.sampled_from(GATES)), tokens, experts)
    match draw(st.sampled_from(["as drawn", "one expert", "nearly one expert", "equal"])):
        case "one expert":  # all tokens want it, and nothing else at all
            weights = np.zeros_like(weights)
            weights[:, 0] = 1.0
        case "nearly one expert":
            weights[:, 0] += 100.0
            weights /= weights.sum(axis=1, keepdims=True)
        case "equal":
            weights = np.full_like(weights, 1.0 / experts)
    gain_db = st.sampled_from([-60.0, -90.0, -90.0, -120.0, -165.0, -180.0, -400.0])  # from about -165 out of reach
    gains = [10.0 ** (np.array([draw(st.lists(gain_db, min_size=devices, max_size=devices))]) / 10.0) for _ in range(2)]
    load = np.array([draw(st.lists(st.sampled_from([0.0, 0.3, 0.95]), min_size=devices, max_size=devices))])
    return scenario, observe(weights[None], gains[0], load, gains[1])


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(degenerate(), st.sampled_from(["wlr", "latency"]), st.sampled_from(["all", "top-k"]))
def test_degenerate_cells_give_valid_decisions_and_bounds(cell, objective, candidates):
    check(*cell, objective=objective, candidates=candidates)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["wlr", "latency"])
@pytest.mark.parametrize(
    ("weights", "gain_dl", "gain_ul", "floor"),
    [
        ([[1.0]], [0.0], [0.0], 0.95),  # the only device is out of reach: the whole band does not help
        ([[1.0, 0.0]], [1e-6], [1e-6], 0.0),  # an expert that no token wants
        ([[0.5, 0.5]], [1e-6, 1e-6], [3e-17, 3e-17], 0.95),  # equal devices, almost out of reach, with equal prices
        ([[0.6, 0.4]] * 3, [1e-8, 0.0], [1e-8, 0.0], 0.5),  # a device that must not be used
    ],
)
def test_cells_that_are_hard_to_price(weights, gain_dl, gain_ul, floor, objective):
    experts, devices = len(weights[0]), len(gain_dl)
    host = [expert % devices for expert in range(experts)]
    scenario = scenario_of(np.random.default_rng(0), "linear", host, 1, len(weights), floor)
    gains = np.array([gain_dl]), np.zeros((1, devices)), np.array([gain_ul])
    check(scenario, observe(np.array([weights], dtype=np.float32), *gains), objective=objective)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "gates"), [(11, "flat"), (14, "flat"), (37, "flat"), (45, "even"), (49, "even")])
def test_one_device_just_out_of_reach_is_charged_no_more_than_outage(seed, gates):
    """Shannon's rate at the whole band is a little below the outage rate there, and must not be what proves."""
    rng = np.random.default_rng(seed)
    scenario = scenario_of(rng, "roofline", [0, 0], 2, 2, 1.0)
    weights = gate_weights(np.random.default_rng(seed), gates, 2, 2)
    check(scenario, observe(weights[None], np.array([[1e-18]]), np.array([[0.3]]), np.array([[10.0**-16.5]])))


def check(scenario, observation, **options):
    """Decide one cell, and hold decision and bounds against everything that can be done in it."""
    decision = decide(observation, scenario, **options)
    used = decision.selection.sum(axis=2)
    assert (used >= 1).all()
    assert (used <= scenario.model.top_k).all()
    assert (decision.bandwidth >= 0.0).all()
    assert decision.bandwidth.sum() <= scenario.radio.bandwidth_hz * HOLDS
    floor, penalty = scenario.reward.mass_floor, scenario.reward.penalty
    assert mass_of(decision.selection, observation, scenario.model.top_k) >= floor - 1e-6

    found = everything(observation, scenario)
    least = bound.latency_bound(observation, scenario, floor)
    assert least > 0.0
    assert least <= found.least_latency(floor) * HOLDS
    assert found.least_latency(floor) <= selection_latency(decision.selection, observation, scenario) * HOLDS
    assert bound.wlr_bound(observation, scenario) * HOLDS >= found.most_wlr(floor)
    most = found.most_reward(bound.plain_wlr(observation, scenario), floor, penalty)
    reward = bound.reward_bound(observation, scenario)
    assert np.isfinite(reward).all()
    assert reward + 1e-9 * np.abs(reward) >= most


@pytest.mark.slow
def test_a_thousand_devices_are_priced() -> None:
    devices = [{"name": "a", "count": 1024, "compute": {"kind": "linear", "flops_per_s": 1e12}}]
    model = {"layers": 1, "experts": 1024, "top_k": 4}
    scenario = load_scenario("paper", name="many", model=model, devices=devices, gating={"bank_passes": 1})
    simulator, reward = Simulator(scenario), {}
    observation = simulator.reset(0)
    for name in ("top-k+bandwidth", "wdmoe", "price"):
        policy = baselines.make(name)
        policy.reset(scenario, 1)
        reward[name] = simulator.preview(policy.decide(observation))["reward"].item()
    assert reward["price"] > 1.05 * reward["wdmoe"] > reward["top-k+bandwidth"]
