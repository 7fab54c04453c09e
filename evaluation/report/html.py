"""The report: one HTML file that needs nothing else, with tables, plots and what the numbers mean."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from evaluation.comparison import Comparison, Result
from evaluation.estimates.statistics import Interval
from evaluation.report.pair_table import COLUMNS, pair_texts, shown_pairs
from evaluation.report.plots import Plot
from evaluation.report.summary import Summary
from evaluation.report.table import columns, heading, number, texts

_TEMPLATE = Path(__file__).with_name("report_template.html")
_ROBUST = ("reward", "optimality")
"""Metrics whose interquartile mean has a column."""
_READING = """
<dt>bits/byte</dt><dd>Bits that the real model takes to predict a byte of the text it reads, with the experts that the
policy gives each token: the sum over all tokens of a stream but its first, over the bytes that they stand for. Less is
better; it is what is lost of the model's capability, where retained mass only stands for it.</dd>
<dt>bits vs top-k</dt><dd>The same, divided by what the model takes with plain top-K routing in the same stream; the
mean of these paired ratios.</dd>
<dt>perplexity</dt><dd>Exponential of the mean loss of a token, in each stream; it depends on the model's tokens.</dd>
"""
_MET = {
    False: "channels, gate weights and background load",
    True: "channels, background load and text, and the gate weights that the model gives for it after what was decided "
    "in the layers before",
}
_OVER_PASSES = "drawn by the forward pass whose gate weights they replay"
_OVER = {True: "drawn by the document whose text is read", False: "and a stream of text each"}


def render(comparisons: Sequence[Comparison], plots: Mapping[str, Sequence[Plot]], summary: Summary) -> str:
    """Return the report as HTML.

    Args:
        comparisons: one for each scenario.
        plots: the pictures of each scenario, by its name; they become part of the file.
        summary: what `evaluation.report.summary.build` returned.
    """
    names = [comparison.scenario.name for comparison in comparisons]
    meta = summary["meta"]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(f"WDMoE Gym · {', '.join(names)}"),
        contents="".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in names),
        scenarios="".join(_scenario(comparison, plots[comparison.scenario.name]) for comparison in comparisons),
        command=escape(meta["command"]),
        facts=_facts(summary),
        policies=_origins(summary),
        reading=_READING if "model" in meta else "",
        met=_MET["model" in meta],
        drawn_by=_drawn_by(comparisons),
        floors=escape(", ".join(f"{c.scenario.reward.mass_floor:g} in {c.scenario.name}" for c in comparisons)),
    )


def _scenario(comparison: Comparison, plots: Sequence[Plot]) -> str:
    scenario = comparison.scenario
    size = (
        f"{scenario.num_devices} devices, {scenario.model.experts} experts, top-{scenario.model.top_k}, "
        f"{scenario.model.layers} layers, {scenario.traffic.tokens} tokens, {scenario.radio.bandwidth_hz / 1e6:g} MHz"
    )
    return (
        f'<section id="{escape(scenario.name)}"><h2>{escape(heading(comparison))}</h2>'
        f"<p>{escape(scenario.description)}<br>"
        f'<span class="muted">{escape(size)}</span></p>'
        f"{_table(comparison)}{_bound_note(comparison)}{_pairs(comparison)}"
        f'<div class="plots">{"".join(_figure(plot) for plot in plots)}</div></section>'
    )


def _table(comparison: Comparison) -> str:
    shown = columns(comparison)
    robust = [metric for metric in _ROBUST if metric in shown]
    head = ["policy", *shown.values(), *(f"{shown[metric]}, IQM" for metric in robust)]
    rows = [
        [
            _cell(metric, result.estimates[metric].of_mean, _is_best(comparison.results, result, metric))
            for metric in shown
        ]
        + [_cell(metric, result.estimates[metric].of_iqm) for metric in robust]
        for result in comparison.results
    ]
    return _html([result.name for result in comparison.results], head, rows)


def _pairs(comparison: Comparison) -> str:
    """Who has more reward than whom; nothing where nobody is compared."""
    pairs = shown_pairs(comparison)
    if not pairs:
        return ""
    rows = [
        [f"<td>{escape(pair.other)}</td>", *(_written(value, ends) for value, ends in pair_texts(pair))]
        for pair in pairs
    ]
    table = _html([pair.policy for pair in pairs], COLUMNS, rows, "scroll pairs")
    return f"<h3>More reward than others</h3>{table}"


def _html(names: Sequence[str], head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "scroll") -> str:
    """A table whose rows begin with a name; their other cells are HTML."""
    headings = "".join(f"<th>{escape(column)}</th>" for column in head)
    body = "".join(f"<tr><th>{escape(name)}</th>{''.join(row)}</tr>" for name, row in zip(names, rows, strict=True))
    return f'<div class="{kind}"><table><thead><tr>{headings}</tr></thead><tbody>{body}</tbody></table></div>'


def _bound_note(comparison: Comparison) -> str:
    """What is proved about the scenario, in a line below its table."""
    bound, floor = comparison.bound, comparison.scenario.reward.mass_floor
    if bound is None:
        return ""
    first = "" if bound.shared else f" in the states of {comparison.results[0].name}"
    least = "" if bound.shared else ", the least over the states of all policies"
    return (
        f'<p class="muted">Proved: a step brings a reward of at most {number(bound.reward.mean)}{escape(first)}, and a '
        f"forward pass that keeps {floor:g} of the gate mass in every layer takes at least "
        f"{number(bound.latency_at_floor_ms.mean)} ms{least}; means over {bound.steps:,} sampled steps.</p>"
    )


def _is_best(results: Sequence[Result], result: Result, metric: str) -> bool:
    # Least latency is no merit where the mass is gone; the reward weighs both.
    most = max(other.estimates[metric].mean for other in results)
    return metric == "reward" and result.estimates[metric].mean == most


def _cell(metric: str, found: Interval, best: bool = False) -> str:
    return _written(*texts(metric, found), ' class="best"' if best else "")


def _written(value: str, ends: str, mark: str = "") -> str:
    return f"<td{mark}>{value}<small>{ends}</small></td>"


def _figure(plot: Plot) -> str:
    data = base64.b64encode(plot.path.read_bytes()).decode("ascii")
    caption = escape(plot.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


def _facts(summary: Summary) -> str:
    meta = summary["meta"]
    model = meta.get("model", {})
    facts = {
        "git revision": meta["git"] or "unknown",
        **{f"model's {name}": model[name] for name in ("name", "type", "dtype") if name in model},
        **{name.replace("_", " "): value for name, value in meta["seeds"].items()},
        **meta["versions"],
    }
    return "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in facts.items())


def _drawn_by(comparisons: Sequence[Comparison]) -> str:
    """What the episodes that bootstraps draw have in common."""
    readings = [comparison.reading for comparison in comparisons]
    words = {_OVER_PASSES if reading is None else _OVER[reading.by_document] for reading in readings}
    return "; ".join(sorted(words))


def _origins(summary: Summary) -> str:
    rows = []
    for name, origin in summary["meta"]["policies"].items():
        where = ", ".join(origin["runs"]) or origin["source"]
        kind = f"trained: {where}" if origin["trained"] else "baseline"
        rows.append(f"<tr><th>{escape(name)}</th><td>{escape(kind)}</td></tr>")
    return "".join(rows)
