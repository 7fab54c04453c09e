"""The generator against the figures that it is calibrated to; each tolerance stands beside the source's figure."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from wdmoe_env.gating import FAMILIES, GatingFamily, draw_passes
from wdmoe_env.gating.statistics import (
    expert_load,
    first_choice_repeat,
    load_cv,
    load_entropy,
    renormalised_top_weight,
    shared_choice_repeat,
)
from wdmoe_env.gating.synthetic import expert_bias

COUNTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "routing" / "expert_counts.csv"
SIZES = {"passes": 3, "layers": 4, "tokens": 5, "experts": 8, "top_k": 2}
# One pass (it is of one domain) of many tokens: what the published counts of a domain are.
LONG = {
    "mixtral": {"passes": 1, "layers": 32, "tokens": 24576, "experts": 8, "top_k": 2},
    "olmoe": {"passes": 1, "layers": 16, "tokens": 4096, "experts": 64, "top_k": 8},
}


def draw(family: GatingFamily | str, seed: int = 0, **sizes: int) -> NDArray[np.float32]:
    return draw_passes(family, rng=np.random.default_rng(seed), **{**SIZES, **sizes})


@pytest.fixture(scope="module")
def mixtral() -> NDArray[np.float32]:
    return draw("mixtral", passes=256, layers=32, tokens=64)


@pytest.fixture(scope="module")
def loads() -> dict[str, NDArray[np.int64]]:
    """Loads of six long passes, shape (passes, layers, experts)."""
    return {name: long_loads(name, seed=0) for name in LONG}


def long_loads(name: str, seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    sizes = LONG[name]
    return np.concatenate([expert_load(draw_passes(name, rng=rng, **sizes), sizes["top_k"]) for _ in range(6)])


def test_mixtral_top_weight_follows_router_records(mixtral: NDArray[np.float32]) -> None:
    weight = renormalised_top_weight(mixtral)
    measured = [weight.mean(), weight.std(), *np.percentile(weight, [5, 50, 95])]
    # 18,668 records of HumanEval and GSM8K, published to two digits: mean, sd, p5, p50, p95.
    np.testing.assert_allclose(measured, [0.70, 0.13, 0.52, 0.70, 0.93], atol=0.015)


@pytest.mark.parametrize(
    ("layer", "first", "shared"),
    # Ranges of Table 5 of the Mixtral report over text sources; around 0.14 and 0.48 in layer 0.
    [(0, (0.13, 0.15), (0.465, 0.495)), (15, (0.23, 0.28), (0.62, 0.67)), (31, (0.20, 0.26), (0.45, 0.54))],
)
def test_mixtral_repetition_follows_report(
    mixtral: NDArray[np.float32], layer: int, first: tuple[float, float], shared: tuple[float, float]
) -> None:
    assert first[0] <= first_choice_repeat(mixtral[:, layer]).mean() <= first[1]
    assert shared[0] <= shared_choice_repeat(mixtral[:, layer]).mean() <= shared[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "cv", "entropy"),
    # allenai/OLMoE counts, layers 0, 7, 15 and five domains; a tenth is added for the layers that were not measured.
    [("mixtral", (0.04, 0.25), (2.94, 3.0)), ("olmoe", (0.32, 1.35), (4.97, 5.94))],
)
def test_load_follows_published_counts(
    loads: dict[str, NDArray[np.int64]], family: str, cv: tuple[float, float], entropy: tuple[float, float]
) -> None:
    assert cv[0] * 0.9 <= load_cv(loads[family]).min() <= load_cv(loads[family]).max() <= cv[1] * 1.1
    tolerance = 0.1 * (entropy[1] - entropy[0])
    assert entropy[0] - tolerance <= load_entropy(loads[family]).min()
    assert load_entropy(loads[family]).max() <= entropy[1] + tolerance


@pytest.mark.parametrize(("family", "model"), [("mixtral", "mixtral-8x7b"), ("olmoe", "olmoe-1b-7b")])
@pytest.mark.parametrize("layer", [0, 7, 15])
def test_load_lies_within_counts_file(loads: dict[str, NDArray[np.int64]], family: str, model: str, layer: int) -> None:
    if not COUNTS.exists():
        pytest.skip("the published expert counts are not part of the project")
    counts = published_counts(model, layer, experts=LONG[family]["experts"])
    generated = loads[family][:, layer]
    for statistic in (load_cv, load_entropy):
        low, high, values = statistic(counts).min(), statistic(counts).max(), statistic(generated)
        tolerance = 0.25 * (high - low)  # the domains drawn are of the style of those in the file, not they
        assert low - tolerance <= values.min() <= values.max() <= high + tolerance, (
            statistic.__name__,
            low,
            high,
            values,
        )


def published_counts(model: str, layer: int, experts: int) -> NDArray[np.int64]:
    """Top-k counts of one layer, shape (domains, experts)."""
    domains: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(experts, dtype=np.int64))
    with COUNTS.open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["model"], row["choice"], int(row["layer"])) == (model, "topk", layer):
                domains[row["domain"]][int(row["expert"])] = int(row["count"])
    return np.stack(list(domains.values()))


def test_uniform_family_has_no_structure() -> None:
    weights = draw("uniform", passes=512, tokens=64)
    assert load_cv(expert_load(weights).sum(axis=0)).max() < 0.03
    assert first_choice_repeat(weights).mean() == pytest.approx(1 / 8, abs=0.005)
    assert shared_choice_repeat(weights).mean() == pytest.approx(1 - 15 / 28, abs=0.007)


def test_same_generator_draws_same_weights() -> None:
    np.testing.assert_array_equal(draw("mixtral", seed=3), draw("mixtral", seed=3))
    assert not np.array_equal(draw("mixtral", seed=3), draw("mixtral", seed=4))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mixtral", "olmoe"])
def test_popularity_is_shared_between_generators(family: str) -> None:
    sizes = {"passes": 400, "layers": 3, "tokens": 64, "experts": LONG[family]["experts"]}
    one, two = (expert_load(draw(family, seed=seed, **sizes)).sum(axis=0) for seed in (5, 6))
    for layer in range(3):
        assert np.corrcoef(one[layer], two[layer])[0, 1] > 0.8


def test_popularity_of_a_layer_does_not_depend_on_later_layers() -> None:
    np.testing.assert_array_equal(expert_bias("mixtral", 1, 8)[:, 0], expert_bias("mixtral", 32, 8)[:, 0])


def test_amount_drawn_depends_on_sizes_alone() -> None:
    states = []
    for family in FAMILIES.values():
        rng = np.random.default_rng(0)
        draw_passes(replace(cast(Any, family), domain_strength=(1.0, 1.0)), rng=rng, **SIZES)
        states.append(rng.bit_generator.state)
    assert states[0] == states[1] == states[2]


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"passes": 1, "layers": 1, "tokens": 1, "experts": 1, "top_k": 1},
        {"experts": 1, "top_k": 1},
        {"experts": 2},
        {"experts": 500, "top_k": 500, "tokens": 1},
    ],
    ids=str,
)
def test_columns_are_distributions(family: str, sizes: dict[str, int]) -> None:
    weights = draw(family, **sizes)
    expected = {**SIZES, **sizes}
    assert weights.shape == tuple(expected[name] for name in ("passes", "layers", "experts", "tokens"))
    assert weights.dtype == np.float32
    assert weights.flags.c_contiguous
    assert (weights >= 0.0).all()
    np.testing.assert_allclose(weights.sum(axis=2, dtype=np.float64), 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"passes": 0}, ValueError, "passes must be at least 1, got 0"),
        ({"tokens": -1}, ValueError, "tokens must be at least 1, got -1"),
        ({"layers": 2.0}, TypeError, r"layers must be an integer, got 2\.0"),
        ({"experts": True}, TypeError, "experts must be an integer, got True"),
        ({"top_k": 9}, ValueError, "top_k must be at most experts=8, got 9"),
        ({"family": "gpt"}, ValueError, "family must be .*'mixtral'.*, got 'gpt'"),
        ({"rng": 7}, TypeError, "rng must be .*, got 7"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    valid: dict[str, Any] = {"family": "mixtral", "rng": np.random.default_rng(0), **SIZES}
    with pytest.raises(error, match=message):
        draw_passes(**{**valid, **arguments})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logit_scale", 0.0),
        ("logit_scale", float("nan")),
        ("persistence", ((0.0, 1.0),)),
        ("first_repeat", ((0.0, -0.1),)),
        ("popularity", ()),
        ("popularity", ((1.0, 0.1), (0.0, 0.1))),
        ("domain_strength", ()),
    ],
)
def test_family_rejects_values_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} must"):
        replace(cast(Any, FAMILIES["mixtral"]), **{field: value})
