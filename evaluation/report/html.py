"""The report: one HTML file that needs nothing else, with tables, figures to play with, and what the numbers mean."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluation.comparison import Comparison
from evaluation.report import style
from evaluation.report.interactive import Drawn
from evaluation.report.pair_table import pair_texts, shown_pairs
from evaluation.report.summary import Summary
from evaluation.report.table import columns, number, texts
from wdmoe_env.texts import Language, load_texts

TEXTS: Final = Path(__file__).parent / "texts"
_TEMPLATE = "report_template.html"
_SCRIPT = "report.js"
_ROBUST = ("reward", "optimality")
"""Metrics whose interquartile mean has a column."""
_OVER = {True: "over_documents", False: "over_streams"}


def render(
    comparisons: Sequence[Comparison],
    figures: Mapping[str, Sequence[Drawn]],
    summary: Summary,
    language: Language = "en",
) -> str:
    """Return the report as HTML; every name and text is escaped.

    Args:
        comparisons: one for each scenario.
        figures: those of each scenario, by its name; they become part of the file, with the library that draws them.
        summary: what `evaluation.report.summary.build` returned.
        language: of the page.
    """
    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    meta, words = summary["meta"], load_texts(TEXTS, language)
    names = list(meta["policies"])
    return pages.get_template(_TEMPLATE).render(
        title=f"WDMoE Gym · {', '.join(comparison.scenario.name for comparison in comparisons)}",
        language="zh-CN" if language == "zh" else language,
        texts=words,
        scenarios=[
            _scenario(number, comparison, figures[comparison.scenario.name], words)
            for number, comparison in enumerate(comparisons)
        ],
        policies=list(style.colors(names).items()),
        command=meta["command"],
        facts=_facts(summary),
        origins={name: _origin(origin, words) for name, origin in meta["policies"].items()},
        read="model" in meta,
        drawn_by=_drawn_by(comparisons, words),
        floors=", ".join(f"{c.scenario.reward.mass_floor:g} ({c.scenario.name})" for c in comparisons),
        figures=_safe(_by_place(comparisons, figures)),
        plotly=_plotly() if any(figures.values()) else "",
        script=(Path(__file__).parent / _SCRIPT).read_text(encoding="utf-8"),
    )


def _by_place(comparisons: Sequence[Comparison], figures: Mapping[str, Sequence[Drawn]]) -> dict[str, Any]:
    """Every figure by the id of its place."""
    return {
        _place(number, drawn.name): drawn.figure
        for number, comparison in enumerate(comparisons)
        for drawn in figures[comparison.scenario.name]
    }


def _place(number: int, name: str) -> str:
    return f"figure-{number}-{name.replace('_', '-')}"


def _safe(data: Any) -> str:
    """JSON that ends no script, whatever the names in it."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


@lru_cache(maxsize=1)
def _plotly() -> str:
    """Plotly's own script, packed: a report would not be a file to send otherwise."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode("ascii")


def _scenario(place: int, comparison: Comparison, figures: Sequence[Drawn], words: Mapping[str, str]) -> dict[str, Any]:
    """What the page says of one scenario. A table is its headings and a row of cells (text, interval, best) a name."""
    scenario, episodes = comparison.scenario, len(comparison.results[0].runs[0].chunk)
    size = words["size"].format(
        devices=scenario.num_devices,
        experts=scenario.model.experts,
        k=scenario.model.top_k,
        layers=scenario.model.layers,
        tokens=scenario.traffic.tokens,
        megahertz=scenario.radio.bandwidth_hz / 1e6,
    )
    pairs = [(pair.policy, pair.other, pair_texts(pair)) for pair in shown_pairs(comparison)]
    return {
        "name": scenario.name,
        "heading": words["heading"].format(name=scenario.name, episodes=episodes),
        "description": scenario.description,
        "size": size,
        **_table(comparison, words),
        "bound": _bound(comparison, words),
        "pair_head": [words[key] for key in ("policy", "against", "mean_reward", "p_more")],
        "pairs": pairs,
        "figures": [(_place(place, drawn.name), drawn) for drawn in figures],
    }


def _table(comparison: Comparison, words: Mapping[str, str]) -> dict[str, Any]:
    shown = {metric: words[f"column_{metric}"] for metric in columns(comparison)}
    robust = [metric for metric in _ROBUST if metric in shown]
    # Least latency is no merit where the mass is gone; the reward weighs both.
    most = max(result.estimates["reward"].mean for result in comparison.results)
    rows = []
    for result in comparison.results:
        found = result.estimates
        means = [(*texts(m, found[m].of_mean), m == "reward" and found[m].mean == most) for m in shown]
        rows.append((result.name, means + [(*texts(m, found[m].of_iqm), False) for m in robust]))
    head = [words["policy"], *shown.values(), *(words["iqm"].format(metric=shown[metric]) for metric in robust)]
    return {"head": head, "rows": rows}


def _bound(comparison: Comparison, words: Mapping[str, str]) -> str:
    """What is proved about the scenario, for a line below its table; empty where nothing is."""
    bound, floor = comparison.bound, comparison.scenario.reward.mass_floor
    if bound is None:
        return ""
    return words["proved"].format(
        reward=number(bound.reward.mean),
        states="" if bound.shared else words["proved_states"].format(policy=comparison.results[0].name),
        floor=f"{floor:g}",
        latency=number(bound.latency_at_floor_ms.mean),
        least="" if bound.shared else words["proved_least"],
        steps=f"{bound.steps:,}",
    )


def _facts(summary: Summary) -> dict[str, Any]:
    meta = summary["meta"]
    model = meta.get("model", {})
    return {
        "git revision": meta["git"] or "unknown",
        **{f"model's {name}": model[name] for name in ("name", "type", "dtype") if name in model},
        **{name.replace("_", " "): value for name, value in meta["seeds"].items()},
        **meta["versions"],
    }


def _drawn_by(comparisons: Sequence[Comparison], words: Mapping[str, str]) -> str:
    """What the episodes that bootstraps draw have in common."""
    readings = [comparison.reading for comparison in comparisons]
    keys = {"over_passes" if reading is None else _OVER[reading.by_document] for reading in readings}
    return "; ".join(sorted(words[key] for key in keys))


def _origin(origin: Mapping[str, Any], words: Mapping[str, str]) -> str:
    where = ", ".join(origin["runs"]) or origin["source"]
    return words["trained"].format(where=where) if origin["trained"] else words["baseline"]
