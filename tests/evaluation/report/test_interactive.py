"""The report's figures hold the numbers of the comparison, and a browser shows them without a network."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.browser import NARROW, WIDE, browser, needs_browser, serious, until, watched

from evaluation.comparison import Comparison, compare
from evaluation.episodes.contenders import find_contenders
from evaluation.episodes.plan import Plan
from evaluation.report import html, outputs, style, summary
from evaluation.report.interactive import build, curves
from evaluation.report.plots import DRAWN, layer_ms
from evaluation.report.table import COLUMNS
from wdmoe_env import load_scenario
from wdmoe_env.texts import LANGUAGES, load_texts

TEXTS = load_texts(html.TEXTS, "en")
POLICIES = ["top-k", "wdmoe", "<i>mine=price", "random"]
MOST_BYTES = 5 * 10**6
RANGE = "String(document.querySelector('#figure-0-trade-off').layout.xaxis.range)"
PLAN = Plan(20, decisions=2, bound_steps=8)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    scenario = load_scenario("paper", model={"layers": 4}, gating={"bank_passes": 8})
    return compare(scenario, find_contenders(POLICIES), PLAN)


@pytest.fixture(scope="module")
def figures(comparison):
    return {drawn.name: drawn.figure for drawn in build(comparison, TEXTS)}


@pytest.fixture(scope="module")
def written(comparison, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out")
    made = summary.build([comparison], PLAN, "python evaluate.py")
    outputs.write([comparison], made, out, "zh")
    return out


def of(figure, policy):
    return [trace for trace in figure["data"] if trace.get("meta") == {"policy": policy}]


def test_every_picture_has_a_figure_and_a_title():
    names = {draw.__name__ for draw in DRAWN} - {"learning_curve"} | {"learning"}
    assert {key.removesuffix("_title") for key in TEXTS if key.endswith("_title")} == names


def test_columns_are_called_as_in_the_terminal():
    assert {key: text for key, text in TEXTS.items() if key.startswith("column_")} == {
        f"column_{metric}": text for metric, text in COLUMNS.items()
    }


def test_bars_are_the_estimates(comparison, figures):
    for result in comparison.results:
        (bar,) = of(figures["latency"], result.name)
        value = result.estimates["latency_ms"]
        assert bar["x"] == [value.mean]
        assert bar["x"][0] + bar["error_x"]["array"][0] == pytest.approx(value.high)
        assert bar["x"][0] - bar["error_x"]["arrayminus"][0] == pytest.approx(value.low)
        assert bar["marker"]["color"] == style.colors([r.name for r in comparison.results])[result.name]


def test_the_trade_off_has_dots_markers_and_the_frontier(comparison, figures):
    figure = figures["trade_off"]
    for result in comparison.results:
        dots, marker = of(figure, result.name)
        assert dots["x"] == pytest.approx(result.runs[0].episodes["latency_ms"], rel=1e-3)
        assert marker["x"] == [result.estimates["latency_ms"].mean]
        assert marker["y"] == [result.estimates["retained_mass"].mean]
    (line,) = [trace for trace in figure["data"] if trace["name"] == TEXTS["frontier"]]
    assert line["x"] == pytest.approx(comparison.bound.latency_ms, rel=1e-3)
    symbols = [of(figure, result.name)[1]["marker"]["symbol"] for result in comparison.results]
    assert len(set(symbols)) == len(symbols)


def test_curves_are_shares(comparison, figures):
    for name in ("profiles", "layer_latency"):
        for trace in figures[name]["data"]:
            assert min(trace["y"]) >= 0
            assert max(trace["y"]) <= 1
    result = comparison.results[1]
    (trace,) = of(figures["layer_latency"], result.name)
    assert np.interp(0.5, trace["y"], trace["x"]) == pytest.approx(np.median(layer_ms(result)), rel=1e-2)
    assert sum(of(figures["bottlenecks"], result.name)[0]["y"]) == pytest.approx(1, rel=1e-3)


def test_names_are_shown_as_they_are(figures):
    text = json.dumps(figures)
    assert "&lt;i&gt;mine" in text
    assert all("<i>" not in trace["name"] for figure in figures.values() for trace in figure["data"])


def test_without_a_bound_there_is_no_frontier(comparison):
    found = build(replace(comparison, bound=None), TEXTS)
    (drawn,) = [one for one in found if one.name == "trade_off"]
    assert TEXTS["frontier"] not in [trace["name"] for trace in drawn.figure["data"]]
    assert "proven" not in drawn.caption


def test_learning_curves_of_runs_and_of_sets(tmp_path):
    for run, rewards in (("set/seed-0", (1, 2, 3)), ("set/seed-1", (2, 3, 5)), ("alone", (0.5, 0.6, 0.7))):
        (tmp_path / run).mkdir(parents=True)
        rows = [f"{1000 * step},{reward}" for step, reward in enumerate(rewards, 1)]
        (tmp_path / run / "evaluations.csv").write_text("\n".join(["timesteps,reward", *rows]))
    figure = curves([tmp_path / "set", tmp_path / "alone"], TEXTS)
    mean, first, second = of(figure, "set")
    assert mean["y"] == [1.5, 2.5, 4.0]
    assert (first["y"], second["y"]) == ([1, 2, 3], [2, 3, 5])
    assert of(figure, "alone")[0]["x"] == [1000, 2000, 3000]
    with pytest.raises(ValueError, match="no evaluations yet"):
        curves([tmp_path], TEXTS)


def test_a_comparison_of_runs_has_their_learning_curve(comparison, tmp_path):
    (tmp_path / "evaluations.csv").write_text("timesteps,reward\n1000,1.5\n2000,1.7\n")
    result = comparison.results[2]
    trained = replace(result, contender=replace(result.contender, trained=True, run_dirs=(tmp_path,)))
    found = build(replace(comparison, results=(*comparison.results[:2], trained, comparison.results[3])), TEXTS)
    figure = found[-1].figure
    assert found[-1].name == "learning"
    assert of(figure, result.name)[0]["y"] == [1.5, 1.7]
    level = comparison.results[1].estimates["reward"].mean
    assert of(figure, "wdmoe")[0]["y"] == [level, level]
    assert of(figure, "random") == []  # far below, and named nowhere else


def test_the_figures_are_kept_for_others_too(written, figures):
    kept = json.loads((written / outputs.FIGURES).read_text())
    assert [one["name"] for one in kept["paper"]] == list(figures)
    assert kept["paper"][0]["figure"]["data"] == figures["latency"]["data"]


def test_the_report_speaks_chinese_and_is_small_enough(written):
    page = (written / outputs.REPORT).read_text(encoding="utf-8")
    assert '<html lang="zh-CN">' in page
    words = load_texts(html.TEXTS, "zh")
    assert words["meaning"] in page
    assert words["column_latency_ms"] in page
    assert len(page.encode()) < MOST_BYTES


def test_the_largest_evaluation_fits_in_a_report(comparison):
    """Eight policies in each of the eight presets."""
    results = [
        replace(result, contender=replace(result.contender, name=f"{result.name}-{copy}"))
        for copy in range(2)
        for result in comparison.results
    ]
    each = [
        replace(comparison, scenario=comparison.scenario.model_copy(update={"name": f"s{n}"}), results=tuple(results))
        for n in range(8)
    ]
    page = html.render(each, {one.scenario.name: build(one, TEXTS) for one in each}, summary.build(each, PLAN, "x"))
    assert len(page.encode()) < MOST_BYTES


def test_a_name_ends_no_script(comparison):
    evil = replace(comparison.results[1].contender, name="</script><script>alert(1)</script>")
    named = replace(comparison, results=(comparison.results[0], replace(comparison.results[1], contender=evil)))
    page = html.render([named], {"paper": build(named, TEXTS)}, summary.build([named], Plan(20), "x"))
    assert "alert(1)" in page
    assert not re.search(r"<script>alert", page)


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_leave_no_place_empty(comparison, language):
    words = load_texts(html.TEXTS, language)
    made = summary.build([comparison], Plan(20), "x")
    page = html.render([comparison], {"paper": build(comparison, words)}, made, language)
    prose = re.sub(r"<script.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL)
    assert not re.search(r"\{\w*\}", prose)


@needs_browser
@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_browser_shows_it_and_switches_policies_off(comparison, tmp_path, size):
    made = summary.build([comparison], PLAN, "python evaluate.py")
    outputs.write([comparison], made, tmp_path)
    with browser() as chromium, watched(chromium, size, "file:") as page:
        page.goto((tmp_path / outputs.REPORT).as_uri())
        until(page, "document.documentElement.dataset.drawn === 'yes'")
        box = page.locator("#policies input").nth(3)
        assert box.get_attribute("data-policy") == "random"
        box.focus()
        page.keyboard.press("Space")
        gone = (
            "document.querySelector('#figure-0-latency').data.find((t) => t.meta.policy === 'random').visible === false"
        )
        until(page, gone)
        assert page.locator("tr[data-policy=random]").first.is_hidden()
        assert page.locator("tr[data-policy=wdmoe]").first.is_visible()
        box.check()
        until(page, f"!({gone})")
        plot = page.locator("#figure-0-trade-off .nsewdrag").first
        plot.scroll_into_view_if_needed()
        place, before = plot.bounding_box(), page.evaluate(RANGE)
        page.mouse.move(place["x"] + 30, place["y"] + 60)
        page.mouse.down()
        page.mouse.move(place["x"] + 130, place["y"] + 160, steps=5)
        page.mouse.up()
        until(page, f"{RANGE} !== '{before}'")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert serious(page) == []
