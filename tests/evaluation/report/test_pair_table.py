from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from evaluation.comparison import Comparison
from evaluation.episodes.plan import Plan
from evaluation.estimates.improvement import Pair
from evaluation.estimates.statistics import Interval
from evaluation.report import html, summary
from evaluation.report.pair_table import build_pair_table, pair_texts, shown_pairs
from evaluation.report.profile_plot import profiles


def trained(comparison: Comparison, names: Sequence[str]) -> Comparison:
    """The same, as if training had made some of the policies."""
    results = [
        replace(result, contender=replace(result.contender, trained=result.name in names))
        for result in comparison.results
    ]
    return replace(comparison, results=tuple(results))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), [("top-k+bandwidth", "top-k"), ("random", "top-k")]),
        (("random",), [("random", "top-k"), ("random", "top-k+bandwidth")]),
        (
            ("top-k", "random"),
            [("top-k", "top-k+bandwidth"), ("random", "top-k+bandwidth")],
        ),
    ],
)
def test_which_pairs_are_shown(comparison: Comparison, names: Sequence[str], expected: list[tuple[str, str]]) -> None:
    assert [(pair.policy, pair.other) for pair in shown_pairs(trained(comparison, names))] == expected


def test_trained_policies_alone_are_held_against_each_other(comparison: Comparison) -> None:
    names = [result.name for result in comparison.results]
    assert len(shown_pairs(trained(comparison, names))) == 6


def test_the_terminal_gets_a_table_only_of_what_is_trained(comparison: Comparison) -> None:
    assert build_pair_table(comparison) is None
    table = build_pair_table(trained(comparison, ["top-k+bandwidth"]))
    assert table is not None
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table)
    text = console.export_text()
    rows = [line.split() for line in text.splitlines() if line.strip().startswith("top-k+bandwidth ")]
    assert [row[1] for row in rows] == ["top-k", "random"]
    found = comparison.results[1].estimates["reward"]
    assert f"IQM of top-k+bandwidth over 1 run and all episodes: reward {found.iqm:.3f} (" in text
    assert ", of bound " in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Interval(0.0312, 0.0288, 0.0331), ("+3.12 %", "+2.88 to +3.31")),
        (Interval(-0.571, -0.6, 0.01), ("-57.1 %", "-60.0 to +1.0")),
        (None, ("–", "")),  # noqa: RUF001
    ],
)
def test_how_pairs_are_written(change: Interval | None, expected: tuple[str, str]) -> None:
    pair = Pair("one", "other", Interval(0.5, 0.25, 1.0), change)
    assert pair_texts(pair) == (expected, ("0.50", "0.25–1.00"))  # noqa: RUF001


def test_the_report_shows_pairs_and_where_policies_come_from(comparison: Comparison, plan: Plan) -> None:
    prepared = trained(comparison, ["random"])
    page = html.render([prepared], {"tiny": []}, summary.build([prepared], plan, "x"))
    assert '<th scope="col">P(more reward)</th>' in page
    assert 'data-against="top-k+bandwidth"><th scope="row">random</th><td>top-k+bandwidth</td>' in page
    assert '<tr><th scope="row">random</th><td>trained: random</td></tr>' in page
    assert '<th scope="col">reward, IQM</th><th scope="col">of bound, IQM</th>' in page
    alone = replace(comparison, results=comparison.results[:1])
    page = html.render([alone], {"tiny": []}, summary.build([alone], plan, "x"))
    assert '<th scope="col">P(more reward)</th>' not in page


@pytest.mark.slow
def test_profiles_name_what_is_outside(comparison: Comparison, tmp_path: Path) -> None:
    caption = profiles(comparison, tmp_path / "profiles.png")
    iqm = comparison.results[2].estimates["reward"].iqm
    assert f"Outside of the picture: top-k (IQM 1.000), random (IQM {iqm:.3f})." in caption
    constant = replace(comparison, results=comparison.results[:1])
    assert "Outside" not in profiles(constant, tmp_path / "constant.png")
