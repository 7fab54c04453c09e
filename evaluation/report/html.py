"""The report: one HTML file that needs nothing else, with tables, plots and what the numbers mean."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluation.comparison import Comparison
from evaluation.report.pair_table import COLUMNS, pair_texts, shown_pairs
from evaluation.report.plots import Plot
from evaluation.report.summary import Summary
from evaluation.report.table import columns, heading, number, texts

_TEMPLATE = "report_template.html"
_ROBUST = ("reward", "optimality")
"""Metrics whose interquartile mean has a column."""
_OVER_PASSES = "drawn by the forward pass whose gate weights they replay"
_OVER = {True: "drawn by the document whose text is read", False: "and a stream of text each"}


def render(comparisons: Sequence[Comparison], plots: Mapping[str, Sequence[Plot]], summary: Summary) -> str:
    """Return the report as HTML; every name and text is escaped.

    Args:
        comparisons: one for each scenario.
        plots: the pictures of each scenario, by its name; they become part of the file.
        summary: what `evaluation.report.summary.build` returned.
    """
    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    meta = summary["meta"]
    return pages.get_template(_TEMPLATE).render(
        title=f"WDMoE Gym · {', '.join(comparison.scenario.name for comparison in comparisons)}",
        scenarios=[_scenario(comparison, plots[comparison.scenario.name]) for comparison in comparisons],
        command=meta["command"],
        facts=_facts(summary),
        origins={name: _origin(origin) for name, origin in meta["policies"].items()},
        read="model" in meta,
        drawn_by=_drawn_by(comparisons),
        floors=", ".join(f"{c.scenario.reward.mass_floor:g} in {c.scenario.name}" for c in comparisons),
    )


def _scenario(comparison: Comparison, plots: Sequence[Plot]) -> dict[str, Any]:
    """What the page says of one scenario. A table is its headings and a row of cells (text, interval, best) a name."""
    scenario = comparison.scenario
    size = (
        f"{scenario.num_devices} devices, {scenario.model.experts} experts, top-{scenario.model.top_k}, "
        f"{scenario.model.layers} layers, {scenario.traffic.tokens} tokens, {scenario.radio.bandwidth_hz / 1e6:g} MHz"
    )
    pairs = [(pair.policy, pair.other, pair_texts(pair)) for pair in shown_pairs(comparison)]
    return {
        "name": scenario.name,
        "heading": heading(comparison),
        "description": scenario.description,
        "size": size,
        **_table(comparison),
        "bound": _bound(comparison),
        "pair_head": COLUMNS,
        "pairs": pairs,
        "plots": [(plot.caption, base64.b64encode(plot.path.read_bytes()).decode("ascii")) for plot in plots],
    }


def _table(comparison: Comparison) -> dict[str, Any]:
    shown = columns(comparison)
    robust = [metric for metric in _ROBUST if metric in shown]
    # Least latency is no merit where the mass is gone; the reward weighs both.
    most = max(result.estimates["reward"].mean for result in comparison.results)
    rows = []
    for result in comparison.results:
        found = result.estimates
        means = [(*texts(m, found[m].of_mean), m == "reward" and found[m].mean == most) for m in shown]
        rows.append((result.name, means + [(*texts(m, found[m].of_iqm), False) for m in robust]))
    return {"head": ["policy", *shown.values(), *(f"{shown[metric]}, IQM" for metric in robust)], "rows": rows}


def _bound(comparison: Comparison) -> dict[str, str] | None:
    """What is proved about the scenario, for a line below its table; None where nothing is."""
    bound, floor = comparison.bound, comparison.scenario.reward.mass_floor
    if bound is None:
        return None
    return {
        "reward": number(bound.reward.mean),
        "states": "" if bound.shared else f" in the states of {comparison.results[0].name}",
        "floor": f"{floor:g}",
        "latency": number(bound.latency_at_floor_ms.mean),
        "least": "" if bound.shared else ", the least over the states of all policies",
        "steps": f"{bound.steps:,}",
    }


def _facts(summary: Summary) -> dict[str, Any]:
    meta = summary["meta"]
    model = meta.get("model", {})
    return {
        "git revision": meta["git"] or "unknown",
        **{f"model's {name}": model[name] for name in ("name", "type", "dtype") if name in model},
        **{name.replace("_", " "): value for name, value in meta["seeds"].items()},
        **meta["versions"],
    }


def _drawn_by(comparisons: Sequence[Comparison]) -> str:
    """What the episodes that bootstraps draw have in common."""
    readings = [comparison.reading for comparison in comparisons]
    words = {_OVER_PASSES if reading is None else _OVER[reading.by_document] for reading in readings}
    return "; ".join(sorted(words))


def _origin(origin: Mapping[str, Any]) -> str:
    where = ", ".join(origin["runs"]) or origin["source"]
    return f"trained: {where}" if origin["trained"] else "baseline"
