from __future__ import annotations

import io
import json
import re
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Self
from unittest.mock import Mock

import numpy as np
import polars as pl
import pytest
from matplotlib import image
from rich.console import Console

from evaluation.comparison import METRICS, Comparison
from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.plan import Plan
from evaluation.report import html, outputs, style, summary, upload
from evaluation.report.device_plot import device_groups
from evaluation.report.table import build_ratio_table, build_table, number
from wdmoe_env import Scenario, load_scenario

POLICIES = ["top-k", "top-k+bandwidth", "random"]
PLOTS = {"latency", "trade-off", "profiles", "layer-latency", "bottlenecks"}


@pytest.fixture(scope="module")
def made(comparison: Comparison, plan: Plan) -> summary.Summary:
    return summary.build([comparison], plan, "python evaluate.py")


@pytest.fixture(scope="module")
def written(comparison: Comparison, made: summary.Summary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    outputs.write([comparison], made, out)
    return out


def test_summary_has_the_agreed_form(made: summary.Summary, tiny: Scenario) -> None:
    assert set(made) == {"scenarios", "meta"}
    assert set(made["scenarios"]["tiny"]) == {"policies", "optimality_ratio", "improvement", "reward_vs", "bound"}
    policies = made["scenarios"]["tiny"]["policies"]
    assert list(policies) == POLICIES
    for metrics in policies.values():
        assert set(metrics) == set(METRICS)
        for value in metrics.values():
            assert set(value) == {"mean", "ci95", "iqm", "iqm_ci95"}
            for middle, ends in (("mean", "ci95"), ("iqm", "iqm_ci95")):
                low, high = value[ends]
                assert low <= value[middle] <= high
    bound = made["scenarios"]["tiny"]["bound"]
    assert set(bound) == {"steps", "reward", "reward_above_floor", "latency_at_floor_ms", "frontier", "states"}
    assert bound["steps"] == 8
    assert bound["states"] == "shared"
    assert set(bound["reward"]) == set(bound["latency_at_floor_ms"]) == {"mean", "ci95", "iqm", "iqm_ci95"}
    assert len(bound["frontier"]["retained_mass"]) == len(bound["frontier"]["latency_ms"]) > 10
    meta = made["meta"]
    assert meta["seeds"] == {"seed": 3, "episodes": 5, "timed_decisions": 8, "bound_steps": 8}
    assert {"python", "numpy", "wdmoe-env"} <= set(meta["versions"])
    assert Scenario.model_validate_json(json.dumps(meta["configuration"]["tiny"])) == tiny


def test_rewards_are_related_to_bounds_in_sum_too(made: summary.Summary, comparison: Comparison) -> None:
    assert list(made["scenarios"]["tiny"]["optimality_ratio"]) == POLICIES
    plain = made["scenarios"]["tiny"]["optimality_ratio"]["top-k"]
    # Plain top-K has a reward of 1 in every step.
    assert plain["ratio"] == pytest.approx(1.0 / comparison.results[0].optimality[0].bounds.reward.mean())
    assert plain["ci95"][0] <= plain["ratio"] <= plain["ci95"][1]


def test_summary_holds_every_pair(made: summary.Summary) -> None:
    scenario = made["scenarios"]["tiny"]
    assert {name: set(others) for name, others in scenario["improvement"].items()} == {
        name: {*POLICIES} - {name} for name in POLICIES
    }
    assert scenario["improvement"]["top-k"]["random"] == {"probability": 1.0, "ci95": [1.0, 1.0]}
    reward = {name: scenario["policies"][name]["reward"]["mean"] for name in POLICIES}
    found = scenario["reward_vs"]["top-k+bandwidth"]["top-k"]
    assert found["change"] == pytest.approx(reward["top-k+bandwidth"] / reward["top-k"] - 1.0)
    assert found["ci95"][0] <= found["change"] <= found["ci95"][1]
    # Penalties make random's reward negative: nothing is a share of it.
    assert "random" not in scenario["reward_vs"]["top-k"]


@pytest.mark.slow
def test_without_a_bound_optimality_is_left_out(comparison: Comparison, plan: Plan, tmp_path: Path) -> None:
    results = [
        replace(
            result,
            estimates={name: value for name, value in result.estimates.items() if name != "optimality"},
            optimality_ratio=None,
        )
        for result in comparison.results
    ]
    without = replace(comparison, results=tuple(results), bound=None)
    made = summary.build([without], plan, "x")
    assert made["scenarios"]["tiny"]["bound"] == made["scenarios"]["tiny"]["optimality_ratio"] == {}
    assert "optimality" not in made["scenarios"]["tiny"]["policies"]["top-k"]
    columns, rows = upload.summary_rows(made)
    assert rows[0][columns.index("optimality")] is None
    assert "eval/tiny/top-k/optimality" not in upload.scalars(made)
    outputs.write([without], made, tmp_path)
    assert '<th scope="col">of bound</th>' not in (tmp_path / outputs.REPORT).read_text()
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(build_table(without))
    assert "of bound" not in console.export_text()


@pytest.mark.slow
def test_report_tells_what_is_proved(written: Path, comparison: Comparison, plan: Plan) -> None:
    page = (written / outputs.REPORT).read_text()
    assert '<th scope="col">of bound</th>' in page
    assert "Proved: a step brings a reward of at most" in page
    assert "means over 8 sampled steps" in page
    assert "no policy&#39;s mean can be" in page
    assert comparison.bound is not None
    apart = replace(comparison, bound=replace(comparison.bound, shared=False))
    page = html.render([apart], {"tiny": []}, summary.build([apart], plan, "x"))
    assert "in the states of top-k, and a forward pass" in page
    assert "the least over the states of all policies; means over" in page


def test_summary_is_json_without_extensions(made: summary.Summary) -> None:
    assert json.loads(summary.dumps(made)) == made


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), np.float64("nan")])
def test_a_number_that_is_not_finite_is_named(wrong: float) -> None:
    with pytest.raises(EvaluationError, match=r"summary.scenarios.paper.0 is (nan|inf)"):
        summary.check_finite({"scenarios": {"paper": [wrong]}})


def test_a_full_disk_is_a_clear_error(
    comparison: Comparison, made: summary.Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(EvaluationError, match=r"cannot write the results to .*: No space left on device"):
        outputs.write([comparison], made, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_episodes_are_one_row_each(comparison: Comparison, written: Path) -> None:
    frame = pl.read_parquet(written / outputs.EPISODES)
    assert frame.height == 3 * 5
    assert {"scenario", "policy", "run", "chunk", "episode", "latency_vs_top_k", "reward"} <= set(frame.columns)
    found = frame.filter(pl.col("policy") == "random")["latency_ms"].mean()
    assert found == pytest.approx(comparison.results[2].estimates["latency_ms"].mean)


@pytest.mark.slow
def test_plots_are_not_empty(written: Path) -> None:
    files = sorted(written.glob("*.png"))
    assert {file.stem.removeprefix("tiny-") for file in files} == PLOTS
    for file in files:
        pixels = image.imread(file)
        assert pixels.shape[1] > 800
        assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50


def test_a_policy_has_the_same_colour_in_every_comparison() -> None:
    one, other = style.colors(["top-k", "ppo", "wdmoe"]), style.colors(["wdmoe", "ppo"])
    assert (one["wdmoe"], one["ppo"]) == (other["wdmoe"], other["ppo"])
    assert len(set(style.colors(["a", "b", "c", *POLICIES]).values())) == 6


def test_devices_of_large_cells_are_shown_by_group(tiny: Scenario) -> None:
    labels, group = device_groups(load_scenario("cell-64"))
    assert labels == ["slow (×16)", "medium (×32)", "fast (×16)"]  # noqa: RUF001
    assert np.bincount(group).tolist() == [16, 32, 16]
    assert device_groups(tiny)[0] == list(tiny.device_names)


def test_report_is_self_contained_and_names_every_policy(written: Path) -> None:
    page = (written / outputs.REPORT).read_text()
    sources = re.findall(r'(?:src|href)="([^"]{1,30})', page)
    assert all(source.startswith("#") for source in sources)
    assert "url(" not in page
    assert "@import" not in page
    for policy in POLICIES:
        assert f'<tr data-policy="{policy}"><th scope="row">{policy}</th>' in page
    assert page.count('class="plot"') == len(PLOTS)
    assert not re.search(r"[{%]%|[{}]{2}", re.sub(r"<script.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL))


def test_report_escapes_names(comparison: Comparison, plan: Plan) -> None:
    result = comparison.results[0]
    evil = replace(result, contender=replace(result.contender, name="<script>&"))
    named = replace(comparison, results=(evil,))
    page = html.render([named], {"tiny": []}, summary.build([named], plan, "x"))
    assert "<script>" not in page
    assert "&lt;script&gt;&amp;" in page


def test_table_is_readable_at_120_columns(comparison: Comparison) -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(build_table(comparison))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 120
    for policy in POLICIES:
        assert sum(re.match(rf"\s*{re.escape(policy)}\s", line) is not None for line in lines) == 1
    assert sum(line.count("–") for line in lines) == 7 * len(POLICIES)  # noqa: RUF001


def test_terminal_and_report_show_every_form_of_the_ratio(comparison: Comparison, written: Path) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(build_ratio_table(comparison))
    lines = console.export_text().splitlines()
    page = (written / outputs.REPORT).read_text()
    for heading in ("WLR (1/s)", "token WLR", "device WLR"):
        assert heading in lines[2]
        assert f'<th scope="col">{heading}</th>' in page
    estimates = comparison.results[1].estimates
    row = next(line for line in lines if line.split()[:1] == ["top-k+bandwidth"])
    assert row.split()[1:] == [number(estimates[name].mean) for name in ("wlr", "wlr_token", "wlr_device")]


def test_scalars_and_rows_for_the_tracker(made: summary.Summary) -> None:
    scalars = upload.scalars(made)
    assert scalars["eval/tiny/top-k/reward"] == pytest.approx(1.0)
    assert len(scalars) == 3 * len(METRICS)
    columns, rows = upload.summary_rows(made)
    assert [len(row) for row in rows] == [len(columns)] * 3


def test_used_and_unwritable_directories(tmp_path: Path) -> None:
    stack = ExitStack()
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(EvaluationError, match=r"already holds a summary.json: choose another --out, or pass --overw"):
        stack.enter_context(outputs.prepared(tmp_path, overwrite=False))
    with outputs.prepared(tmp_path, overwrite=True):
        with pytest.raises(EvaluationError, match="is in use by another process"):
            stack.enter_context(outputs.prepared(tmp_path, overwrite=True))
        assert (tmp_path / "summary.json").exists()
    with pytest.raises(EvaluationError, match="cannot write to --out"):
        stack.enter_context(outputs.prepared(tmp_path / "summary.json" / "below", overwrite=False))
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_results_of_the_same_second_lie_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(outputs, "datetime", Clock)
    with outputs.prepared(None, False) as first, outputs.prepared(None, False) as second:
        assert [first.name, second.name] == ["2026-01-02-030405", "2026-01-02-030405-2"]
        (first / "summary.json").write_text("{}")
    # What stays empty, as nothing came of it, goes again.
    assert [path.name for path in Path("results").iterdir()] == [first.name]


def test_an_overwritten_comparison_leaves_nothing_of_the_old(
    comparison: Comparison, made: summary.Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs.write([comparison], made, tmp_path)
    old = {**made, "scenarios": {**made["scenarios"], "older": {}}}
    (tmp_path / "summary.json").write_text(summary.dumps(old))
    (tmp_path / "older-latency.png").touch()
    (tmp_path / "mine.png").touch()
    monkeypatch.setattr(html, "render", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(EvaluationError, match="No space left"):
        outputs.write([comparison], made, tmp_path)
    # Killed half way it looks like that: data, no summary, and nothing of the comparison before.
    left = {path.name for path in tmp_path.iterdir()}
    assert {"episodes.parquet", "mine.png"} <= left
    assert not left & {"summary.json", "report.html", "older-latency.png"}
