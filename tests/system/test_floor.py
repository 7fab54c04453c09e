"""Keeping the mass floor: enough tokens go back to plain routing, the cheapest first, and no more than it takes."""

import numpy as np
import pytest

from wdmoe_env.system import selection
from wdmoe_env.system.floor import MARGIN, TINY, keep_floor


def cells(seed=0, num_envs=5, tokens=40, experts=6):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(experts, 0.5), (num_envs, tokens)).astype(np.float32)
    return weights, selection.top_k(weights, 2), rng.uniform(0.0, 0.4, (num_envs, experts))


def mass(weights, chosen):
    return (weights * chosen).sum(axis=(1, 2), dtype=np.float64)


@pytest.mark.parametrize("floor", [0.9, 0.95, 1.0])
def test_the_floor_is_kept_with_as_few_returns_as_it_takes(floor):
    weights, plain, price = cells()
    wanted = selection.by_price(weights, price, 2, np.arange(6), candidates="all")
    kept = keep_floor(weights, wanted, plain, price, floor)
    retained = mass(weights, kept) / mass(weights, plain)
    assert (mass(weights, wanted) / mass(weights, plain) < floor).any()
    assert retained.min() >= floor - 1e-6
    for cell in range(len(weights)):
        back = np.flatnonzero((kept[cell] != wanted[cell]).any(axis=1))
        np.testing.assert_array_equal(kept[cell, back], plain[cell, back])
        if back.size and floor < 1.0:
            # Without the last return, the one that pays most for its mass, the floor would be broken.
            change = plain[cell, back].astype(float) - wanted[cell, back]
            mass_gain = (weights[cell, back] * change).sum(axis=1)
            last = back[((price[cell] * change).sum(axis=1) / mass_gain).argmax()]
            without = kept.copy()
            without[cell, last] = wanted[cell, last]
            assert mass(weights, without)[cell] < floor * mass(weights, plain)[cell] + 1e-4


def test_the_tokens_that_pay_least_for_their_mass_return_first():
    weights = np.array([[[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.6, 0.1, 0.3]]], dtype=np.float32)
    plain = selection.top_k(weights, 2)
    wanted = selection.top_k(weights, 1)
    price = np.array([[0.0, 0.5, 0.4]])
    kept = keep_floor(weights, wanted, plain, price, 0.7)
    np.testing.assert_array_equal(kept[0], [[1, 0, 0], [1, 0, 0], [1, 0, 1]])


def test_what_keeps_the_floor_is_left_alone():
    weights, plain, price = cells()
    assert keep_floor(weights, plain, plain, price, 0.95) is plain
    wanted = plain.copy()
    wanted[0] = selection.top_k(weights, 1)[0]
    before = wanted.copy()
    kept = keep_floor(weights, wanted, plain, price, 0.99)
    np.testing.assert_array_equal(kept[1:], wanted[1:])
    np.testing.assert_array_equal(wanted, before)
    assert not np.array_equal(kept[0], wanted[0])


def by_loop(weights, wanted, plain, price, floor):
    """One cell, (J, E), token by token: the rule as `keep_floor` documents it."""
    kept, change = wanted.copy(), plain.astype(float) - wanted
    mass_gain, cost = np.maximum((weights * change).sum(axis=1), 0.0), (price * change).sum(axis=1)
    left = (floor + MARGIN) * (weights * plain).sum() - (weights * wanted).sum()
    if left <= 0.0:
        return kept
    back = []
    for token in sorted(np.flatnonzero(mass_gain > TINY), key=lambda token: cost[token] / mass_gain[token]):
        if mass_gain[token] >= left:
            break
        left -= mass_gain[token]
        back.append(token)
    last = min(
        (token for token in range(len(mass_gain)) if token not in back and mass_gain[token] >= left),
        key=cost.__getitem__,
    )
    kept[[*back, last]] = plain[[*back, last]]
    return kept


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_against_a_loop_over_tokens(k, dtype):
    rng = np.random.default_rng(k)
    weights = rng.dirichlet(np.full(7, 0.5), (60, 33)).astype(dtype)
    plain, price = selection.top_k(weights, k), rng.uniform(0.0, 0.5, (60, 1)) * rng.random((60, 7))
    wanted = selection.by_price(weights, price, k, np.arange(7), candidates="all")
    kept = keep_floor(weights, wanted, plain, np.asfortranarray(price), 0.93)
    changed = (kept != wanted).any(axis=(1, 2))
    assert changed.any()
    assert not changed.all()
    for cell in range(60):
        expected = by_loop(weights[cell].astype(float), wanted[cell], plain[cell], price[cell], 0.93)
        np.testing.assert_array_equal(kept[cell], expected)
