"""Devices that are (almost) out of reach: each token on them counts, which prices alone do not see."""

from dataclasses import replace

import numpy as np
import pytest
from support.toy import preset

import baselines
from baselines import bound
from baselines.joint.problem import few_tokens, joint_problem, whole_matters
from wdmoe_env import Simulator
from wdmoe_env.system import selection
from wdmoe_env.system.compute import compute_time
from wdmoe_env.system.latency import carrier_to_noise_density
from wdmoe_env.system.layer import layer_times


def cells(attenuation_db, count=12):
    """Cells of `jetson`, each with one device (another in each) whose links are so much weaker."""
    scenario = preset("jetson")
    seen = Simulator(scenario, num_envs=count).reset(seed=3)
    factor = np.ones_like(seen.gain_dl)
    factor[np.arange(count), np.arange(count) % scenario.num_devices] = 10.0 ** (-attenuation_db / 10.0)
    return scenario, replace(seen, gain_dl=seen.gain_dl * factor, gain_ul=seen.gain_ul * factor)


def ratio(scenario, seen, decision):
    """Gate mass over latency (N,), with the split of the band that was decided."""
    chosen = selection.by_expert(decision.selection)
    tokens = chosen.sum(axis=2, dtype=np.float64)
    compute = scenario.compute_model
    cn0 = carrier_to_noise_density(seen.gain_dl, seen.gain_ul, scenario.radio_link)
    busy = compute_time(tokens, seen.load, compute)
    times = layer_times(compute.per_device(tokens), busy, decision.bandwidth, cn0, scenario.radio_link)
    return (selection.by_expert(seen.gate_weights) * chosen).sum(axis=(1, 2)) / times.latency


def decide(scenario, seen, **options):
    policy = baselines.make("price", **options)
    policy.reset(scenario, len(seen.layer))
    return ratio(scenario, seen, policy.decide(seen))


@pytest.mark.parametrize("attenuation_db", [60.0, 80.0, 200.0])
def test_price_and_bound_meet_where_a_device_is_almost_out_of_reach(attenuation_db):
    scenario, seen = cells(attenuation_db)
    assert not few_tokens(joint_problem(seen, scenario))
    assert whole_matters(joint_problem(seen, scenario)).all()
    reached, most = decide(scenario, seen), bound.wlr_bound(seen, scenario)
    assert (reached <= most).all()
    assert (reached >= decide(scenario, seen, rounds=0) * (1.0 - 1e-9)).all()
    assert (reached / most).mean() > 0.9


def test_the_bound_is_no_looser_for_what_is_known_of_whole_tokens():
    scenario, seen = cells(60.0)
    floor = scenario.reward.mass_floor
    line = bound.frontier(seen, scenario, [floor, 1.0])
    known = (line.mass * joint_problem(seen, scenario).plain_mass[:, None] / line.latency).max(axis=1)
    found = bound.wlr_bound(seen, scenario)
    assert (found <= known * (1.0 + 1e-4)).all()
    assert (found < 0.98 * known).any()


def test_a_cell_without_far_devices_is_decided_as_if_it_were_alone():
    scenario, seen = cells(60.0)
    near = Simulator(scenario, num_envs=12).reset(seed=3)
    mixed = replace(seen, gain_dl=seen.gain_dl.copy(), gain_ul=seen.gain_ul.copy())
    mixed.gain_dl[::2], mixed.gain_ul[::2] = near.gain_dl[::2], near.gain_ul[::2]
    assert whole_matters(joint_problem(mixed, scenario)).tolist() == [False, True] * 6
    together, rows = decide(scenario, mixed), np.arange(0, 12, 2)
    assert np.allclose(together[rows], decide(scenario, near.take(rows)), rtol=1e-9)
    assert np.allclose(bound.wlr_bound(mixed, scenario)[rows], bound.wlr_bound(near.take(rows), scenario), rtol=1e-9)
