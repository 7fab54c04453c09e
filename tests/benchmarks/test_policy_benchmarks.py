"""Benchmarks of policies: cells of other sizes, and the time of decisions."""

import numpy as np
import pytest
from support.toy import preset

from benchmarks import decision_time, transfer

import baselines
from evaluation.comparison import compare
from evaluation.episodes.contenders import find_contenders
from evaluation.episodes.plan import Plan


@pytest.mark.parametrize("devices", [4, 9, 32])
def test_a_cell_of_another_size_is_the_papers_otherwise(devices):
    scenario, paper = transfer.cell(devices), preset("paper")
    assert (scenario.num_devices, scenario.model.experts) == (devices, devices)
    assert scenario.radio == paper.radio
    assert scenario.channel == paper.channel
    np.testing.assert_array_equal(scenario.compute_model.host, np.arange(devices))
    with pytest.raises(ValueError, match="devices is 3, expected at least 4"):
        transfer.cell(3)


@pytest.mark.slow
def test_a_row_for_each_policy():
    contenders = find_contenders(["top-k", "price"], transfer=True)
    scenario = transfer.load_scenario(transfer.cell(4), gating={"bank_passes": 2})
    top_k, price = transfer.rows(compare(scenario, contenders, Plan(2, decisions=1, bound_steps=8)), 4)
    assert (top_k["policy"], price["policy"], price["devices"]) == ("top-k", "price", 4)
    assert top_k["reward"]["mean"] == pytest.approx(1.0)
    assert top_k["optimality"]["mean"] < 0.9 < price["optimality"]["mean"] <= 1.0


def test_all_policies_are_timed_in_the_same_states():
    policies = {name: baselines.make(name) for name in ("top-k", "top-k+bandwidth")}
    spent = decision_time.measure(policies, preset("paper"), 40, 0)
    assert {name: len(values) for name, values in spent.items()} == {"top-k": 40, "top-k+bandwidth": 40}
    assert all((values > 0).all() for values in spent.values())
