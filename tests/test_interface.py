"""Observations: some of their environments, and several one after the other."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from support.toy import preset, toy

from wdmoe_env import Observation, Scenario, Simulator
from wdmoe_env.arrays import Batch


def same(one: Any, other: Any) -> None:
    """Both hold the same, field by field."""
    assert type(one) is type(other)
    if isinstance(one, Batch):
        for field in fields(one):
            same(getattr(one, field.name), getattr(other, field.name))
    elif one is not None:
        np.testing.assert_array_equal(one, other)


@pytest.fixture(params=["paper", "jetson", "mobile", "toy"])
def seen(request: pytest.FixtureRequest) -> Observation:
    """Five cells as they truly are, of which `jetson` tells of measured devices, too."""
    scenario: Scenario = toy() if request.param == "toy" else preset(request.param)
    simulator = Simulator(scenario, 5)
    simulator.reset(1)
    found = simulator.true_observation()
    assert (found.compute is not None) == (request.param == "jetson")
    return found


def test_parts_joined_are_the_whole(seen: Observation) -> None:
    same(Observation.join([seen.take(slice(0, 2)), seen.take(np.array([2])), seen.take(slice(3, None))]), seen)


def test_rows_are_those_that_were_listed(seen: Observation) -> None:
    some = seen.take(np.array([3, 1, 3]))
    assert some.plain is not None
    assert seen.plain is not None
    for row, origin in enumerate((3, 1, 3)):
        np.testing.assert_array_equal(some.gate_weights[row], seen.gate_weights[origin])
        np.testing.assert_array_equal(some.plain.table[row], seen.plain.table[origin])
        if some.compute is not None and seen.compute is not None:
            np.testing.assert_array_equal(some.compute.token_s[row], seen.compute.token_s[origin])
            np.testing.assert_array_equal(some.compute.host, seen.compute.host)
    assert not np.shares_memory(some.gain_dl, seen.gain_dl)
