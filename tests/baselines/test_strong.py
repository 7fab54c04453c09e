"""The strong dual, its branches and the search over whole experts, against definitions and against exact optima."""

from dataclasses import replace

import numpy as np
import pytest
from support.cells import observe, random_cells, scenario_of
from support.exhaustive import everything, selection_latency
from support.toy import preset, random_decision

from benchmarks.milp import most_wlr

import baselines
from baselines import bound
from baselines.joint.band import fill_needs, least_time, need
from baselines.joint.cell import Cell, cells_of
from baselines.joint.facility import OPEN, SHUT, Choice, Prices, dual_mass, no_limits
from baselines.joint.polishing import polished
from baselines.joint.problem import few_tokens, joint_problem, least_latency
from wdmoe_env import Simulator
from wdmoe_env.system import bandwidth, selection
from wdmoe_env.system.latency import block_latency, carrier_to_noise_density, communication_time, device_time

HOLDS = 1.0 + 1e-9
HOSTS = {"one expert a device": [0, 1, 2, 3], "several experts a device": [0, 0, 1, 1, 1, 2]}


def some_cells(seed, kind="roofline", host=(0, 0, 1, 1, 1, 2), top_k=2, tokens=4, count=4, low_db=-120.0):
    rng = np.random.default_rng(seed)
    return random_cells(rng, scenario_of(rng, kind, list(host), top_k, tokens), count, low_db)


def mass_of(chosen, observation):
    return (observation.gate_weights.astype(np.float64) * chosen).sum(axis=(1, 2))


@pytest.mark.parametrize(("low_db", "outage_s"), [(-120.0, 10.0), (-170.0, 10.0), (-170.0, 1e-3)])
def test_need_is_the_least_band_that_does(low_db, outage_s):
    cells = some_cells(3, count=8, low_db=low_db)
    radio = cells.scenario.model_copy(
        update={"radio": cells.scenario.radio.model_copy(update={"outage_s": outage_s})}
    ).radio_link
    cn0 = carrier_to_noise_density(cells.observation.gain_dl, cells.observation.gain_ul, radio)
    part = cn0 / radio.bandwidth_hz
    rng, met = np.random.default_rng(0), 0
    for cell, device in np.ndindex(*cn0.shape[1:]):
        for seconds in 10.0 ** rng.uniform(-4.0, 1.4, 20):
            least = need(seconds, *part[:, cell, device], radio.payload_nats / radio.bandwidth_hz, radio.outage_s, 1.0)
            share = min(least, 1.0) if least > 0.0 else 1e-12

            def air(share, at=cn0[:, cell : cell + 1, device : device + 1]):
                return communication_time(np.full((1, 1), share * radio.bandwidth_hz), at, radio)[0, 0]

            if np.isinf(least):
                assert air(1.0) > seconds * (1.0 - 1e-9)
                continue
            met += 1
            assert air(share) <= seconds * (1.0 + 1e-7)
            if least > 0.0:
                assert air(0.999 * share) > seconds
    assert met > 50


@pytest.mark.parametrize("kind", ["linear", "roofline"])
def test_least_time_is_that_of_the_exact_split(kind):
    cells = some_cells(4, kind, tokens=6, count=8, low_db=-100.0)
    decision = random_decision(cells.scenario, 8, np.random.default_rng(1))
    expected = selection_latency(decision.selection, cells.observation, cells.scenario)
    counts = selection.tokens_per_expert(decision.selection)
    compute = cells.scenario.compute_model
    for index, cell in enumerate(cells_of(joint_problem(cells.observation, cells.scenario))):
        tokens = compute.per_device(counts)[index]
        used = compute.per_device((counts > 0).astype(np.float64))[index]
        found = least_time(cell, tokens, used, np.ones_like(tokens), 0.0)
        assert found == pytest.approx(expected[index], rel=1e-7)


@pytest.mark.parametrize("outage_s", [10.0, 0.1, 0.01, 0.001])
def test_least_time_is_that_of_the_exact_split_where_links_are_in_outage(outage_s):
    rng, devices = np.random.default_rng(5), 6
    radio = replace(scenario_of(rng, "linear", [0], 1, 1).radio_link, outage_s=outage_s)
    cn0 = np.maximum(10.0 ** rng.uniform(4.0, 9.0, (2, 60, devices)), radio.outage_rate)
    tokens = rng.integers(0, 6, (60, devices)) + (np.arange(devices) == 0.0)
    split = bandwidth.split(tokens, 1e-3 * tokens, cn0, radio)
    latency = block_latency(device_time(tokens, communication_time(split, cn0, radio), 1e-3 * tokens))
    payload = radio.payload_nats / radio.bandwidth_hz
    assert (communication_time(split, cn0, radio)[tokens > 0] >= outage_s).any()
    for index in range(60):
        cell = Cell(
            np.zeros((devices, 1)), np.arange(devices), 1, 1.0, np.zeros(devices), np.full(devices, 1e-3),
            np.ascontiguousarray(cn0[:, index]) / radio.bandwidth_hz, payload, outage_s,
            np.ones(devices, np.int64), np.zeros((devices, 2), np.int64), 1,
        )  # fmt: skip
        used = (tokens[index] > 0).astype(np.float64)
        found = least_time(cell, tokens[index].astype(np.float64), used, np.ones(devices), 0.0)
        assert found == pytest.approx(latency[index], rel=1e-8)


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
@pytest.mark.parametrize("kind", ["linear", "roofline"])
def test_no_decision_keeps_more_than_the_dual_says_at_any_prices(kind, host):
    cells, rng = some_cells(5, kind, host, low_db=-170.0, count=6), np.random.default_rng(2)
    problem = joint_problem(cells.observation, cells.scenario)
    for _ in range(20):
        decision = random_decision(cells.scenario, 6, rng)
        mass, chosen = mass_of(decision.selection, cells.observation), decision.selection.swapaxes(1, 2)
        latency = selection_latency(decision.selection, cells.observation, cells.scenario)
        for index, cell in enumerate(cells_of(problem)):
            (experts, tokens), devices = cell.weights.shape, len(cell.hosted)
            prices = Prices(
                rng.normal(0.0, 0.2, tokens), rng.normal(0.0, 0.2, devices), rng.normal(0.0, 0.3, devices),
                rng.exponential(1.0, 1),
            )  # fmt: skip
            needs, slope = np.empty(cell.entries), Prices(*(np.zeros_like(values) for values in prices))
            fill_needs(cell, latency[index] * HOLDS, needs)
            room = Choice(np.zeros((experts, tokens)), np.zeros(experts))
            assert dual_mass(cell, needs, prices, no_limits(cell), slope, room) >= mass[index]
            fixed = no_limits(cell)  # the same where it is fixed what the decision does
            token = int(rng.integers(tokens))
            fixed.pair[:, token] = np.where(chosen[index, :, token], OPEN, SHUT)
            fixed.expert[chosen[index].any(axis=1)] = OPEN
            assert dual_mass(cell, needs, prices, fixed, slope, room) >= mass[index]


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_exact_bounds_close_on_the_optimum_of_tiny_cells(host):
    cells = some_cells(6, "roofline", host, tokens=3, count=8, low_db=-105.0)
    found, floor = everything(cells.observation, cells.scenario), cells.scenario.reward.mass_floor
    most, least = found.most_wlr(floor), found.least_latency(floor)
    ratio = bound.wlr_bound(cells.observation, cells.scenario, exact=True)
    latency = bound.latency_bound(cells.observation, cells.scenario, floor, exact=True)
    assert (ratio * HOLDS >= most).all()
    assert (latency <= least * HOLDS).all()
    # 0.1 % above the optimum, but where `price` ends below it.
    assert (np.sort(ratio / most)[:6] <= 1.0021).all()
    assert (np.sort(least / latency)[:6] <= 1.0021).all()


@pytest.mark.parametrize(("kind", "host", "top_k"), [("roofline", [0, 0, 1, 1, 2, 2, 3], 3), ("linear", range(5), 1)])
def test_bound_exact_price_in_this_order_against_a_mixed_integer_program(kind, host, top_k):
    cells = some_cells(7, kind, host, top_k, tokens=5, count=3, low_db=-105.0)
    floor = cells.scenario.reward.mass_floor
    policy = baselines.make("price")
    policy.reset(cells.scenario, 3)
    chosen = policy.decide(cells.observation).selection
    reached = mass_of(chosen, cells.observation) / selection_latency(chosen, cells.observation, cells.scenario)
    most = bound.wlr_bound(cells.observation, cells.scenario)
    for cell in range(3):
        exact, limit = most_wlr(cells.observation, cells.scenario, cell, floor, float(reached[cell]))
        assert reached[cell] <= limit
        assert exact <= most[cell] * HOLDS
        assert exact >= 0.95 * most[cell]
        assert reached[cell] >= 0.9 * exact


def test_the_search_over_experts_makes_nothing_worse_and_keeps_the_floor():
    cells = some_cells(8, tokens=6, count=12)
    problem = joint_problem(cells.observation, cells.scenario)
    plain = selection.by_expert(selection.top_k(cells.observation.gate_weights, 2))
    least = 0.95 * problem.plain_mass
    found = polished(problem, plain, least, "wlr").swapaxes(1, 2)
    before, after = (
        mass_of(chosen, cells.observation) / selection_latency(chosen, cells.observation, cells.scenario)
        for chosen in (plain.swapaxes(1, 2), found)
    )
    assert (after >= before * (1.0 - 1e-9)).all()
    assert (after > before * 1.02).sum() >= 6
    assert (mass_of(found, cells.observation) >= least * (1.0 - 1e-6)).all()
    assert ((found.sum(axis=2) >= 1) & (found.sum(axis=2) <= 2)).all()


@pytest.mark.parametrize(
    ("name", "tokens", "few"),
    [("paper", 64, False), ("jetson", 64, False), ("mobile", 64, False), ("jetson", 8, True), ("paper", 4, True)],
)
def test_presets_are_decided_by_prices_alone(name, tokens, few):
    scenario = preset(name, traffic={"tokens": tokens})
    assert few_tokens(joint_problem(Simulator(scenario).reset(0), scenario)) == few


def test_the_frontier_is_never_below_what_any_layer_takes():
    rng = np.random.default_rng(9)
    scenario = scenario_of(rng, "linear", range(6), 2, 64)
    cells = random_cells(rng, scenario, 16)
    gain = np.where(rng.random(cells.observation.gain_dl.shape) < 0.4, 1e-30, cells.observation.gain_dl)
    observation = observe(cells.observation.gate_weights, gain, cells.observation.load)
    line = bound.frontier(observation, scenario, bound.reward_grid(scenario))
    least = least_latency(joint_problem(observation, scenario))
    assert (line.latency >= least[:, None]).all()
    assert (np.diff(line.mass, axis=1) >= 0.0).all()
    assert (line.latency == least[:, None]).any()  # so the line was below
    assert bound.wlr_bound(observation, scenario).min() > 0.0
