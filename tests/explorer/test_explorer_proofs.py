"""What the page calls proved is the bound of `baselines.bound`."""

import numpy as np
import pytest

import baselines
from baselines import bound
from explorer.cells.changes import begin
from explorer.cells.episodes import PolicyEpisode
from explorer.cells.proofs import Proofs, provable
from wdmoe_env import load_scenario


def episode(name, policy, **changes):
    return PolicyEpisode(begin(load_scenario(name, **changes), 1, {}), baselines.make(policy))


def test_no_policy_beats_what_is_proved_and_price_comes_close():
    runs = [episode("paper", name) for name in ("price", "wdmoe")]
    proofs = Proofs(runs[0].scenario)
    moments = [run.at(step) for run in runs for step in range(3)]
    assert proofs.of(moments[0]) is None
    assert proofs.prove(moments, 60.0)
    for moment in moments:
        found = proofs.of(moment)
        metrics = moment.scene.step.metrics
        assert moment.reward <= found.reward * (1 + 1e-6)
        assert metrics["latency"] >= found.least_latency(metrics["retained_mass"] - 2e-6) * (1 - 1e-6)
    assert moments[0].reward >= 0.99 * proofs.of(moments[0]).reward


def test_policies_in_the_same_cell_share_a_proof():
    one, other = episode("paper", "top-k").at(1), episode("paper", "wdmoe").at(1)
    proofs = Proofs(load_scenario("paper"))
    proofs.prove([one], 60.0)
    assert proofs.of(other) is proofs.of(one)


def test_a_proof_is_the_bound_of_the_cell():
    moment, scenario = episode("jetson", "top-k").at(0), load_scenario("jetson")
    proofs = Proofs(scenario)
    proofs.prove([moment], 60.0)
    most = bound.reward_bound(moment.cell, scenario, reference=np.array([moment.reference]))
    assert proofs.of(moment).reward <= most[0] * (1 + 1e-9)  # more points prove more


def test_time_that_is_over_leaves_the_rest_unproved():
    moments = [episode("paper", "top-k").at(step) for step in range(2)]
    proofs = Proofs(load_scenario("paper"))
    assert not proofs.prove(moments, 0.0)
    assert proofs.of(moments[0]) is None


@pytest.mark.parametrize("changes", [{"radio": {"medium": "shared"}}, {"reward": {"metric": "wlr_token"}}])
def test_where_no_bound_is_known_none_is_shown(changes):
    scenario = load_scenario("paper", **changes)
    assert not provable(scenario)
    moment = episode("paper", "top-k", **changes).at(0)
    proofs = Proofs(scenario)
    assert proofs.prove([moment], 1.0)
    assert proofs.of(moment) is None
