"""The parts of the search for prices against definitions: token rates, and what tokens ask for."""

from itertools import pairwise

import numpy as np
import pytest
from support.cells import GATES, gate_weights, random_cells, scenario_of
from support.exhaustive import options

from baselines.joint.capacity import Links
from baselines.joint.demand import exact_surplus, response, smooth_demand
from wdmoe_env.system.latency import carrier_to_noise_density, communication_time

NUDGE = 1e-6


def links_and_cn0(low_db=-120.0, outage_s=10.0):
    """Links of 40 cells with 4 devices, some of them weak, and their C/N0."""
    rng = np.random.default_rng(4)
    scenario = scenario_of(rng, "linear", range(4), 2, 4)
    scenario = scenario.model_copy(update={"radio": scenario.radio.model_copy(update={"outage_s": outage_s})})
    observation = random_cells(rng, scenario, 40, low_db).observation
    cn0 = carrier_to_noise_density(observation.gain_dl, observation.gain_ul, scenario.radio_link)
    return Links(cn0, scenario.compute_model.token_s / (1.0 - observation.load), scenario.radio_link), cn0


@pytest.mark.parametrize("part", [1e-3, 0.03, 0.3, 0.9])
def test_slope_and_play_are_derivatives(part):
    links, _ = links_and_cn0()
    bandwidth = np.full(links.token_s.shape, part * links.band)
    at, below, above = (links.token_rate(bandwidth * scale) for scale in (1.0, 1.0 - NUDGE, 1.0 + NUDGE))
    apart = 2.0 * NUDGE * bandwidth
    np.testing.assert_allclose(at.slope, (above.rate - below.rate) / apart, rtol=1e-4)
    curvature = (above.slope - below.slope) / apart
    curved = -curvature * bandwidth > 0.01 * at.slope  # elsewhere least curvature is assumed
    assert curved.mean() > 0.5
    np.testing.assert_allclose(at.sensitivity[curved], -at.slope[curved] / curvature[curved], rtol=1e-3)


@pytest.mark.parametrize(("low_db", "outage_s"), [(-120.0, 10.0), (-170.0, 10.0), (-170.0, 1e-3), (-400.0, 10.0)])
def test_token_rate_is_concave_and_never_below_the_true_one(low_db, outage_s):
    links, cn0 = links_and_cn0(low_db, outage_s)
    shares = np.geomspace(1e-9, 1.0, 200) * links.band
    rates = [links.token_rate(np.full(links.token_s.shape, share)) for share in shares]
    true = [
        1.0 / (communication_time(np.full(links.token_s.shape, b), cn0, links.radio) + links.token_s) for b in shares
    ]
    for hull, rate in zip(rates, true, strict=True):
        assert (hull.rate >= rate * (1.0 - 1e-12)).all()
        assert (hull.slope >= 0.0).all()
        assert (hull.sensitivity >= 0.0).all()
    for before, after in pairwise(rates):
        assert (after.slope <= before.slope * (1.0 + 1e-9)).all()
    in_reach = (cn0 > 10.0 * links.radio.outage_rate).all(axis=0)
    np.testing.assert_allclose(rates[-1].rate[in_reach], true[-1][in_reach], rtol=1e-12)


def nets(kind, experts, tokens=5, cells=30):
    """Net gate weights (N, E, J) of cells with prices from none to high, double precision, and the prices (N, E)."""
    rng = np.random.default_rng(7)
    weights = np.stack([gate_weights(rng, kind, tokens, experts) for _ in range(cells)]).swapaxes(1, 2)
    price = rng.uniform(0.0, 0.6, (cells, experts)) * rng.integers(0, 2, size=(cells, 1))
    return weights - price[:, :, None]


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize(("experts", "top_k"), [(1, 1), (4, 1), (4, 2), (4, 4), (6, 3)])
class TestDemand:
    def test_exact_surplus_against_all_options(self, kind, experts, top_k):
        net = nets(kind, experts)
        best = np.max([net[:, chosen].sum(axis=1) for chosen in options(experts, top_k)], axis=0)
        np.testing.assert_allclose(exact_surplus(net, top_k), best.sum(axis=1), rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("temperature", [0.03, 0.003])
    def test_smoothed_surplus_is_never_below_the_exact_one(self, kind, experts, top_k, temperature):
        net = nets(kind, experts)
        demand = smooth_demand(net, top_k, np.full((len(net), 1), temperature))
        exact = exact_surplus(net, top_k)
        assert (demand.surplus >= exact - 1e-12).all()
        # A share's entropy is at most ln 2.
        assert (demand.surplus <= exact + temperature * np.log(2.0) * net[0].size + 1e-12).all()

    def test_tokens_use_between_one_and_k_experts(self, kind, experts, top_k):
        net = nets(kind, experts)
        demand = smooth_demand(net, top_k, np.full((len(net), 1), 0.03))
        assert (demand.shares >= 0.0).all()
        assert (demand.shares <= 1.0).all()
        used = demand.shares.sum(axis=1)
        assert (used > 1.0 - 0.02).all()
        assert (used < top_k + 0.02).all()

    def test_demand_is_minus_the_derivative_of_the_surplus(self, kind, experts, top_k):
        net, temperature = nets(kind, experts), np.full((30, 1), 0.03)
        demand = smooth_demand(net, top_k, temperature)
        for expert in range(experts):
            step = NUDGE * np.eye(experts)[expert][:, None]
            lower, higher = (smooth_demand(net - sign * step, top_k, temperature).surplus for sign in (-1.0, 1.0))
            tokens = demand.shares[:, expert].sum(axis=1)
            np.testing.assert_allclose((lower - higher) / (2.0 * NUDGE), tokens, rtol=0.02, atol=0.02)

    def test_response_is_minus_the_derivative_of_the_demand(self, kind, experts, top_k):
        net, temperature = nets(kind, experts), np.full((30, 1), 0.03)
        demand = smooth_demand(net, top_k, temperature)
        matrix = response(demand, temperature)
        for expert in range(experts):
            step = NUDGE * np.eye(experts)[expert][:, None]
            lower, higher = (smooth_demand(net - s * step, top_k, temperature).shares.sum(axis=2) for s in (-1.0, 1.0))
            np.testing.assert_allclose((lower - higher) / (2.0 * NUDGE), matrix[:, :, expert], rtol=0.05, atol=0.5)
        assert (np.linalg.eigvalsh(matrix) > -1e-6).all()
