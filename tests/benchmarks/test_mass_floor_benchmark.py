"""No state in which breaking the floor pays: random cells of many kinds, with devices out of reach."""

import numpy as np
import pytest

from benchmarks import mass_floor


def test_breaking_the_floor_never_pays():
    rows = mass_floor.measure(10_000, seed=0, penalty=20.0)
    assert [row.now for row in rows] == [0] * len(mass_floor.FORMS)
    assert min(row.below for row in rows) > 20_000
    # The decisions are the right ones: the penalty alone is broken by them.
    assert rows[0].before > 1000
    assert rows[0].most_excess > 100.0


def test_not_even_without_a_penalty():
    assert all(row.now == 0 for row in mass_floor.measure(500, seed=1, penalty=0.0))


def test_devices_are_out_of_reach_and_decisions_on_both_sides_of_the_floor():
    rng = np.random.default_rng(0)
    scenario = mass_floor.cell(rng)
    seen = mass_floor.states(rng, scenario, 200)
    assert 0.05 < (seen.gain_dl < 1e-15).mean() < 0.3
    tried = mass_floor.attempt(rng, scenario, seen)
    np.testing.assert_allclose(tried.mass[0], 1.0, atol=1e-6)
    assert tried.below.any(axis=0).mean() > 0.5
    assert not tried.below[0].any()


@pytest.mark.parametrize(("states", "penalty", "fault"), [(0, 1.0, "states is 0"), (1, -1.0, "penalty is -1.0")])
def test_what_is_out_of_range_is_named(states, penalty, fault):
    with pytest.raises(ValueError, match=fault):
        mass_floor.measure(states, 0, penalty)
