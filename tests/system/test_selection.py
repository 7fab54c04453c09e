"""Selection: ties, prices, scores and repair against rules written out token by token."""

from itertools import combinations

import numpy as np
import pytest

from wdmoe_env.interface import Observation, plain_routing
from wdmoe_env.system import ranking, selection

HOST = np.array([0, 1, 2, 0, 1, 2])


def gates(num_envs=3, tokens=11, experts=6, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).dirichlet(np.full(experts, 0.5), (num_envs, tokens)).astype(dtype)


def counts(chosen):
    return chosen.sum(axis=2)


@pytest.mark.parametrize("k", [1, 2, 5, 6])
def test_top_k_keeps_the_largest(k):
    weights = gates()
    chosen = selection.top_k(weights, k)
    assert chosen.dtype == np.bool_
    assert (counts(chosen) == k).all()
    kept = np.where(chosen, weights, np.inf).min(axis=2)
    left = np.where(chosen, -np.inf, weights).max(axis=2)
    assert (kept >= left).all()


def test_top_k_keeps_the_first_of_equal_ones():
    weights = np.full((2, 3, 4), 0.25)
    weights[1, 1] = [0.1, 0.3, 0.3, 0.3]
    chosen = selection.top_k(weights, 2)
    assert (counts(chosen) == 2).all()
    assert chosen[0, 0].tolist() == [True, True, False, False]
    assert chosen[1, 1].tolist() == [False, True, True, False]


def test_memory_layout_does_not_matter():
    weights = gates()
    by_expert = selection.by_expert(weights).swapaxes(1, 2)
    np.testing.assert_array_equal(selection.top_k(weights, 2), selection.top_k(by_expert, 2))


def test_routed_is_top_k_unless_known():
    weights, nothing = gates(), np.zeros((3, 3))
    fields = nothing, nothing, weights, nothing, nothing, np.zeros(3, dtype=int), nothing, nothing
    np.testing.assert_array_equal(plain_routing(Observation(*fields), 2), selection.top_k(weights, 2))
    known = np.ones(weights.shape, dtype=bool)
    assert plain_routing(Observation(*fields, routed=known), 2) is known


def test_price_zero_is_top_k():
    weights = gates(dtype=np.float64) + 1e-9
    np.testing.assert_array_equal(selection.by_price(weights, np.zeros((3, 3)), 2, HOST), selection.top_k(weights, 2))


def test_price_half_keeps_the_best_alone():
    weights = gates()
    np.testing.assert_array_equal(
        selection.by_price(weights, np.full((3, 3), 0.5), 2, HOST), selection.top_k(weights, 1)
    )


@pytest.mark.parametrize("candidates", ["top-k", "all"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_by_price_maximises_what_the_lp_does(candidates, k):
    weights = gates(2, 20, 6, seed=k, dtype=np.float64)
    price = np.random.default_rng(k).exponential(0.15, (2, 3))
    chosen = selection.by_price(weights, price, k, HOST, candidates)
    plain = selection.top_k(weights, k)
    for env, token in np.ndindex(2, 20):
        worth = weights[env, token] - price[env, HOST]
        allowed = np.flatnonzero(plain[env, token]) if candidates == "top-k" else range(6)
        best = max(sum(worth[list(subset)]) for size in range(1, k + 1) for subset in combinations(allowed, size))
        mine = np.flatnonzero(chosen[env, token])
        assert 1 <= len(mine) <= k
        assert set(mine) <= set(allowed)
        assert worth[mine].sum() == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("candidates", ["top-k", "all"])
def test_prices_of_experts_are_those_of_their_devices_where_all_pay_the_same(candidates):
    weights, price = gates(), np.random.default_rng(0).exponential(0.15, (3, 3))
    expected = selection.by_price(weights, price, 2, HOST, candidates)
    np.testing.assert_array_equal(selection.by_price(weights, price[:, HOST], 2, candidates=candidates), expected)


def test_a_higher_price_never_brings_tokens():
    weights, price = gates(), np.full((3, 3), 0.1)
    before = selection.tokens_per_expert(selection.by_price(weights, price, 2, HOST))
    price[:, 1] = 0.3
    after = selection.tokens_per_expert(selection.by_price(weights, price, 2, HOST))
    assert (after[:, HOST == 1] <= before[:, HOST == 1]).all()
    assert (after[:, HOST == 1].sum(axis=1) < before[:, HOST == 1].sum(axis=1)).all()
    assert (after[:, HOST != 1] >= before[:, HOST != 1]).all()


def test_by_price_takes_known_routing_over():
    weights, price = gates(), np.full((3, 3), 0.05)
    known = selection.top_k(weights, 2)
    np.testing.assert_array_equal(
        selection.by_price(weights, price, 2, HOST, routed=known), selection.by_price(weights, price, 2, HOST)
    )


def test_by_score_against_a_loop():
    score = np.random.default_rng(0).normal(-0.4, 1.0, (2, 15, 6))
    chosen = selection.by_score(score, 2)
    for env, token in np.ndindex(2, 15):
        ranked = np.argsort(-score[env, token])
        expected = [e for e in ranked[:2] if score[env, token, e] > 0] or [ranked[0]]
        assert sorted(np.flatnonzero(chosen[env, token])) == sorted(expected)


@pytest.mark.parametrize(("experts", "k"), [(6, 1), (6, 2), (6, 3), (6, 6), (6, 9), (40, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_of_equal_scores_the_first_are_kept(experts, k, dtype):
    # Few different values: most tokens have equal ones, among the K largest, at the K-th and at 0.
    score = (np.random.default_rng(k).integers(-3, 3, (3, 50, experts)) / 4).astype(dtype)
    score[0, 0], score[0, 1], score[0, 2] = -0.25, 0.0, 0.25
    chosen = selection.by_score(score, k)
    plain = selection.top_k(score, k)
    for env, token in np.ndindex(3, 50):
        ranked = sorted(range(experts), key=lambda expert: -score[env, token, expert])[:k]
        assert np.flatnonzero(plain[env, token]).tolist() == sorted(ranked)
        worth = [expert for expert in ranked if score[env, token, expert] > 0] or ranked[:1]
        assert np.flatnonzero(chosen[env, token]).tolist() == sorted(worth)


def test_many_experts_are_ranked_as_few_are(monkeypatch):
    weights = gates(4, 30, 40)
    chosen = selection.by_score(weights - 0.03, 4)
    for few in (0, 10_000):
        monkeypatch.setattr(ranking, "FEW", few)
        np.testing.assert_array_equal(selection.by_score(weights - 0.03, 4), chosen)


def test_repair_against_a_loop():
    weights = gates()
    wanted = np.random.default_rng(1).random(weights.shape) < 0.4
    chosen = selection.repair(weights, wanted, 2)
    for env, token in np.ndindex(3, 11):
        ranked = np.argsort(-weights[env, token])
        expected = [e for e in ranked if wanted[env, token, e]][:2] or [ranked[0]]
        assert sorted(np.flatnonzero(chosen[env, token])) == sorted(expected)


def test_repair_leaves_valid_selections_alone():
    weights = gates()
    for valid in (selection.top_k(weights, 2), selection.top_k(weights, 1), selection.top_k(-weights, 2)):
        np.testing.assert_array_equal(selection.repair(weights, valid, 2), valid)


def test_routing_against_a_loop():
    weights = gates()
    chosen = selection.repair(weights, np.random.default_rng(2).random(weights.shape) < 0.4, 3)
    routing = selection.routing(weights, chosen)
    tokens, mass, share = np.zeros((3, 3, 6))
    for env, token, expert in np.argwhere(chosen):
        weight = float(weights[env, token, expert])
        tokens[env, expert] += 1
        mass[env, expert] += weight
        share[env, expert] += weight / chosen[env, token].sum()
    np.testing.assert_array_equal(routing.tokens, tokens)
    np.testing.assert_array_equal(selection.tokens_per_expert(chosen), tokens)
    np.testing.assert_allclose(routing.mass, mass, rtol=1e-6)
    np.testing.assert_allclose(routing.share, share, rtol=1e-6)
    assert (routing.fewest, routing.most) == (counts(chosen).min(), counts(chosen).max())


def test_routing_reports_tokens_without_experts():
    chosen = np.zeros((1, 2, 6), dtype=bool)
    chosen[0, 0] = True
    routing = selection.routing(gates(1, 2), chosen)
    assert (routing.fewest, routing.most) == (0, 6)
    assert np.isfinite(routing.share).all()
