"""The bounds hold against everything that can be tried, and are as tight as the relaxation they are the dual of."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from support.cells import observe, random_cells, scenario_of, tiny_scenario
from support.exhaustive import everything, options, selection_latency
from support.linear_program import relaxed_latency
from support.toy import SMALL, preset, random_decision

import baselines
from baselines import bound
from wdmoe_env import Simulator, load_scenario

HOLDS = 1.0 + 1e-9
TIGHT = 3e-3
"""Part of the relaxed optimum that a bound may lose. Most of these cells lose less than a third of that."""
GROUPS, EACH = 50, 20
MEASURED = {"jetson", "jetson-wifi", "decode", "many-experts"}
"""Presets in which only the simulator knows how long plain top-K takes."""


def price_latency(cells):
    """Seconds (N,) that `price` takes when it minimises latency at the scenario's floor."""
    policy = baselines.make("price", objective="latency")
    policy.reset(cells.scenario, len(cells.observation.load))
    return selection_latency(policy.decide(cells.observation).selection, cells.observation, cells.scenario)


def ordinary(seed, tokens=20, devices=5, top_k=2, count=4):
    """Linear one-to-one cells, most links good."""
    rng = np.random.default_rng(seed)
    return random_cells(rng, scenario_of(rng, "linear", range(devices), top_k, tokens), count, low_db=-100.0)


@pytest.fixture(scope="module")
def tiny():
    """1,000 random tiny cells, and everything that they can do."""
    rng = np.random.default_rng(0)
    drawn = [random_cells(rng, tiny_scenario(rng), EACH) for _ in range(GROUPS)]
    return [(cells, everything(cells.observation, cells.scenario)) for cells in drawn]


@pytest.mark.parametrize("kind", ["linear", "roofline"])
@pytest.mark.parametrize(("host", "top_k"), [([0, 1], 2), ([0, 1, 1], 2), ([1, 0, 0, 2], 1)])
def test_exhaustive_solver_against_every_selection(kind, host, top_k):
    rng = np.random.default_rng(1)
    scenario = scenario_of(rng, kind, host, top_k, tokens=3)
    cells = random_cells(rng, scenario, 3)
    found, experts = everything(cells.observation, scenario), len(host)
    chosen = np.zeros((len(options(experts, top_k)) ** 3, 3, experts), dtype=bool)
    for row, picked in enumerate(product(options(experts, top_k), repeat=3)):
        for token, used in enumerate(picked):
            chosen[row, token, used] = True
    for cell in range(3):
        one = observe(
            *(getattr(cells.observation, name)[[cell]] for name in ("gate_weights", "gain_dl", "load", "gain_ul"))
        )
        many = replace(
            one, **{name: np.repeat(getattr(one, name), len(chosen), 0) for name in ("gain_dl", "gain_ul", "load")}
        )
        latency = selection_latency(chosen, many, scenario)
        weights = one.gate_weights.astype(np.float64)
        mass = (weights * chosen).sum(axis=(1, 2)) / np.sort(weights, axis=2)[:, :, -top_k:].sum()
        for floor in (0.0, 0.7, 0.9, 1.0):
            enough = mass >= floor * (1.0 - 1e-9)
            assert found.least_latency(floor)[cell] == pytest.approx(latency[enough].min(), rel=1e-8)
            most = (mass * found.plain_mass[cell] / latency)[enough].max()
            assert found.most_wlr(floor)[cell] == pytest.approx(most, rel=1e-8)


@pytest.mark.slow
def test_bound_exhaustive_price_in_this_order(tiny):
    gaps = []
    for cells, found in tiny:
        floor = cells.scenario.reward.mass_floor
        exact, reached = found.least_latency(floor), price_latency(cells)
        assert (bound.latency_bound(cells.observation, cells.scenario, floor) <= exact * HOLDS).all()
        assert (exact <= reached * HOLDS).all()
        gaps.append(reached / exact - 1.0)
    gap = np.concatenate(gaps)
    assert len(gap) == 1000
    assert np.median(gap) < 0.01
    assert (gap < 1e-6).mean() > 0.9


@pytest.mark.slow
def test_bounds_on_ratio_and_reward_against_every_selection(tiny):
    for cells, found in tiny[::4]:
        observation, scenario = cells.observation, cells.scenario
        reward = scenario.reward
        assert (bound.wlr_bound(observation, scenario) * HOLDS >= found.most_wlr(reward.mass_floor)).all()
        most = found.most_reward(bound.plain_wlr(observation, scenario), reward.mass_floor, reward.penalty)
        assert (bound.reward_bound(observation, scenario) * HOLDS >= most).all()


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_bound_on_reward_without_a_reference(tiny, penalty):
    for cells, found in tiny[::10]:
        reward = {"penalty": penalty, "normalize": "none"}
        scenario = cells.scenario.model_copy(update={"reward": cells.scenario.reward.model_copy(update=reward)})
        plain = bound.plain_wlr(cells.observation, scenario)
        most = found.most_reward(plain, scenario.reward.mass_floor, penalty, 1.0)
        assert (bound.reward_bound(cells.observation, scenario) * HOLDS >= most).all()


@pytest.mark.slow
def test_bound_on_reward_is_the_bound_above_the_floor(tiny):
    for cells, found in tiny[::10]:
        scenario, seen = cells.scenario, cells.observation
        most = bound.reward_bound(seen, scenario)
        above = bound.wlr_bound(seen, scenario) / bound.plain_wlr(seen, scenario)
        np.testing.assert_allclose(most, above, rtol=1e-3)
        line = bound.frontier(seen, scenario, bound.reward_grid(scenario))
        assert (line.mass[:, 0] == 0.0).all()
        reached = found.most_reward(bound.plain_wlr(seen, scenario), scenario.reward.mass_floor, 0.0)
        assert (bound.reward_bound(seen, scenario, line) * HOLDS >= reached).all()
        logarithm = load_scenario(scenario, reward={"scale": "log"})
        np.testing.assert_allclose(bound.reward_bound(seen, logarithm), np.log(most), rtol=1e-12)


@pytest.mark.parametrize("grid", [[0.0, 0.5, 1.0], [0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 1.0], [0.93, 0.94], [0.7]])
def test_frontier_holds_between_its_points(tiny, grid):
    for cells, found in tiny[::5]:
        line = bound.frontier(cells.observation, cells.scenario, grid)
        assert (np.diff(line.mass, axis=1) >= 0.0).all()
        assert (line.mass[:, [0, -1]] == [grid[0], grid[-1]]).all()
        for cell in range(EACH):
            # The least latency steps up where a count's mass ends: there the line comes closest.
            steps = found.mass[cell][(found.mass[cell] >= grid[0]) & (found.mass[cell] <= grid[-1])]
            for mass in np.append(steps[:: max(len(steps) // 30, 1)], grid):
                exact = found.latency[cell][found.mass[cell] >= mass * (1.0 - 1e-9)].min()
                assert np.interp(mass, line.mass[cell], line.latency[cell]) <= exact * HOLDS


def test_frontier_rises_and_agrees_with_the_bound():
    cells = ordinary(0)
    grid = [0.6, 0.8, 0.9, 0.95, 1.0]
    line = bound.frontier(cells.observation, cells.scenario, grid)
    on_grid = []
    for mass in grid:
        alone = bound.latency_bound(cells.observation, cells.scenario, mass)
        at = np.array([np.interp(mass, *row) for row in zip(line.mass, line.latency, strict=True)])
        assert (alone >= at * (1.0 - 2e-3)).all()  # more is proved of whole tokens at a single mass
        on_grid.append(at)
    assert (np.diff(on_grid, axis=0) > 0.0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tokens", "devices", "top_k", "mass"), [(16, 4, 2, 0.95), (24, 6, 2, 0.95), (20, 5, 3, 0.9), (20, 5, 2, 0.8)]
)
def test_frontier_at_one_mass_is_the_relaxed_optimum(tokens, devices, top_k, mass):
    cells = ordinary(tokens + devices, tokens, devices, top_k)
    proved = bound.frontier(cells.observation, cells.scenario, [mass]).latency[:, 0]
    relaxed = np.array([relaxed_latency(cells.observation, cells.scenario, cell, mass) for cell in range(4)])
    assert (proved <= relaxed * (1.0 + 1e-5)).all()
    assert (proved >= relaxed * (1.0 - TIGHT)).all()


@pytest.mark.slow
def test_frontier_is_the_relaxed_one():
    cells = ordinary(5, count=2)
    line = bound.frontier(cells.observation, cells.scenario, [0.9, 0.92, 0.95])
    for cell, mass in product(range(2), (0.9, 0.91, 0.93, 0.95)):
        relaxed = relaxed_latency(cells.observation, cells.scenario, cell, mass)
        proved = np.interp(mass, line.mass[cell], line.latency[cell])
        assert proved <= relaxed * (1.0 + 1e-5)
        assert proved >= relaxed * (1.0 - TIGHT)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_no_decision_in_a_preset_beats_the_bounds(name):
    """Random decisions, and a good one with disturbed splits, judged by the simulator."""
    scenario, rng = preset(name), np.random.default_rng(0)
    floor, count = scenario.reward.mass_floor, 1 if name == "cell-64" else 8
    simulator, policy = Simulator(scenario, count, "test"), baselines.make("price")
    policy.reset(scenario, count)
    simulator.reset(0)
    seen, state = simulator.true_observation(), simulator.state()
    line = bound.frontier(seen, scenario, bound.reward_grid(scenario))
    most = bound.reward_bound(seen, scenario, line, simulator.reference())
    ratio = bound.wlr_bound(seen, scenario)
    best = policy.decide(seen)
    noise = np.exp(0.05 * rng.standard_normal((10, *best.bandwidth.shape)))
    disturbed = (share / share.sum(axis=1, keepdims=True) for share in best.bandwidth * noise)
    decisions = [replace(best, bandwidth=share * scenario.radio.bandwidth_hz) for share in disturbed]
    for decision in [best, *decisions, *(random_decision(scenario, count, rng) for _ in range(10))]:
        simulator.restore(state)
        outcome = simulator.step(decision)
        assert (outcome.reward <= most * HOLDS).all()
        kept = outcome.metrics["retained_mass"]
        above = kept >= floor
        assert (outcome.metrics["wlr"][above] <= ratio[above] * HOLDS).all()
        for cell in range(count):  # single precision decides no more than the last millionth of the mass
            least = np.interp(kept[cell] - 1e-6, line.mass[cell], line.latency[cell])
            assert least <= outcome.metrics["latency"][cell] * HOLDS
    assert (most > 1.0).all()


@pytest.mark.parametrize("name", sorted(SMALL.keys() - MEASURED))
def test_plain_wlr_is_what_reward_is_measured_by(name):
    simulator = Simulator(preset(name), 4)
    policy = baselines.make("top-k")
    policy.reset(simulator.scenario, 4)
    simulator.reset(0)
    seen = simulator.true_observation()
    plain = bound.plain_wlr(seen, simulator.scenario)
    np.testing.assert_array_equal(simulator.reference(), plain)
    np.testing.assert_allclose(simulator.step(policy.decide(seen)).metrics["wlr"], plain, rtol=1e-6)


@pytest.mark.parametrize("mass", [-0.1, 1.1, float("nan")])
def test_masses_out_of_range_are_refused(mass):
    cells = ordinary(0, tokens=2, devices=2, count=1)
    with pytest.raises(ValueError, match=f"retained_mass is .*{mass}.*, expected 0 to 1"):
        bound.latency_bound(cells.observation, cells.scenario, mass)
    with pytest.raises(ValueError, match=f"retained_mass is .*{mass}.*, expected 0 to 1"):
        bound.frontier(cells.observation, cells.scenario, [0.5, mass])


@pytest.mark.parametrize("masses", [[], [0.9, 0.8], [0.9, 0.9]])
def test_masses_that_do_not_rise_are_refused(masses):
    cells = ordinary(0, tokens=2, devices=2, count=1)
    with pytest.raises(ValueError, match=r"retained_mass is .*, expected rising numbers"):
        bound.frontier(cells.observation, cells.scenario, masses)


@pytest.mark.parametrize("metric", ["wlr_token", "wlr_device"])
def test_other_ratios_have_no_bound(metric):
    scenario = preset("paper", reward={"metric": metric})
    with pytest.raises(ValueError, match=f"reward.metric is '{metric}'"):
        bound.reward_bound(Simulator(scenario).reset(0), scenario)


def test_a_mass_for_each_cell():
    cells, masses = ordinary(5), np.array([0.5, 0.8, 0.95, 1.0])
    each = bound.latency_bound(cells.observation, cells.scenario, masses)
    for cell, mass in enumerate(masses):
        alone = bound.latency_bound(cells.observation, cells.scenario, float(mass))[cell]
        assert each[cell] == pytest.approx(alone, rel=1e-4)
