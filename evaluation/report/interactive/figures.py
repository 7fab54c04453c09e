"""One figure for each picture of a comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from evaluation.comparison import Comparison, Result
from evaluation.report import style
from evaluation.report.device_plot import device_groups, slowest_shares
from evaluation.report.interactive import learning
from evaluation.report.interactive.look import (
    DASHES,
    GREY,
    INK,
    SYMBOLS,
    Figure,
    Texts,
    axis,
    by_place,
    layout,
    of_policy,
    plain,
    rounded,
)
from evaluation.report.plots import layer_ms
from evaluation.report.profile_plot import profile_curves
from evaluation.report.trade_off_plot import episodes, near

FRONTIER: Final = "#b3364b"
DOTS: Final = 400
"""Episodes of a policy that are drawn one by one."""
QUANTILES: Final = 200
ROOM: Final = 1.5
"""Times the largest mean that an axis of latencies ends at."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure, its title, and the sentence below it."""

    name: str
    title: str
    caption: str
    figure: Figure


def build(comparison: Comparison, texts: Texts) -> list[Drawn]:
    """All figures of one scenario, in the order of the report; one that has nothing to show is left out."""
    found = []
    for name, draw in DRAWN.items():
        if (figure := draw(comparison, texts)) is not None:
            caption = _caption(name, comparison, texts)
            found.append(Drawn(name, texts[f"{name}_title"], caption, figure))
    return found


def _caption(name: str, comparison: Comparison, texts: Texts) -> str:
    said = texts[f"{name}_said"]
    if name == "trade_off" and comparison.bound is not None:
        said += texts["frontier_said"].format(steps=comparison.bound.steps)
    return said


def latency(comparison: Comparison, texts: Texts) -> Figure:
    """Mean latency of a forward pass by policy, with intervals."""
    results, color = comparison.results, _colours(comparison)
    limit = ROOM * max(result.estimates["latency_ms"].high for result in near(results))
    data = []
    for result in results:
        value, ratio = result.estimates["latency_ms"], result.estimates["latency_vs_top_k"]
        hover = f"<b>{plain(result.name)}</b><br>{value.mean:,.4g} ms ({value.low:,.4g}–{value.high:,.4g})"  # noqa: RUF001
        bar = {
            "type": "bar",
            "orientation": "h",
            "x": [value.mean],
            "y": [plain(result.name)],
            "marker": {"color": color[result.name]},
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [value.high - value.mean],
                "arrayminus": [value.mean - value.low],
                "color": INK,
            },
            "hovertemplate": f"{hover}<br>{ratio.mean:.3f} × top-k<extra></extra>",  # noqa: RUF001
        }
        data.append(of_policy(result.name, bar))
    axes = {
        "xaxis": axis(texts["axis_latency"], range=[0, limit]),
        "yaxis": axis(autorange="reversed", automargin=True),
    }
    return {"data": data, "layout": layout(110 + 34 * len(results), bargap=0.35, barmode="overlay", **axes)}


def trade_off(comparison: Comparison, texts: Texts) -> Figure:
    """Latency against retained gate mass: an episode a dot, a policy a marker, the proven frontier a line."""
    color, symbol = _colours(comparison), by_place(_names(comparison), SYMBOLS)
    shown, bound, floor = near(comparison.results), comparison.bound, comparison.scenario.reward.mass_floor
    data: list[dict[str, Any]] = []
    for result in comparison.results:
        across, up = episodes(result, "latency_ms"), episodes(result, "retained_mass")
        dots = {"color": color[result.name], "size": 4, "opacity": 0.35}
        trace = {"type": "scatter", "mode": "markers", "hoverinfo": "skip", "marker": dots}
        data.append(of_policy(result.name, trace | {"x": rounded(across[:DOTS]), "y": rounded(up[:DOTS])}))
    if bound is not None:
        line = {"color": FRONTIER, "width": 2}
        hover = f"{texts['frontier']}: %{{x:.4g}} ms, %{{y:.3f}}<extra></extra>"
        trace = {"type": "scatter", "mode": "lines", "line": line, "hovertemplate": hover, "name": texts["frontier"]}
        data.append(trace | {"x": rounded(bound.latency_ms), "y": rounded(bound.mass)})
    for result in comparison.results:
        data.append(_marker(result, color[result.name], symbol[result.name]))
    slow = np.concatenate([episodes(result, "latency_ms") for result in shown])
    masses = np.concatenate([episodes(result, "retained_mass") for result in shown])
    least = float(slow.min())
    if bound is not None:
        least = min(least, float(np.interp(floor, bound.mass, bound.latency_ms)))
    low = min(floor, float(np.percentile(masses, 0.2)))
    ends = {"xref": "paper", "x0": 0, "x1": 1, "y0": floor, "y1": floor}
    axes = {
        "xaxis": axis(texts["axis_latency"], range=[0.92 * least, 1.05 * float(np.percentile(slow, 99))]),
        "yaxis": axis(texts["axis_mass"], range=[low - 0.08 * (1.0 - low) - 1e-3, 1.0 + 0.04 * (1.0 - low) + 1e-3]),
        "shapes": [{"type": "line", **ends, "line": {"color": GREY, "width": 1, "dash": "dash"}}],
    }
    return {"data": data, "layout": layout(400, **axes)}


def _marker(result: Result, colour: str, symbol: str) -> dict[str, Any]:
    across, up = result.estimates["latency_ms"], result.estimates["retained_mass"]
    look = {"color": colour, "size": 13, "symbol": symbol, "line": {"color": "white", "width": 1.3}}
    hover = f"<b>{plain(result.name)}</b><br>%{{x:.4g}} ms, %{{y:.3f}}<extra></extra>"
    trace = {"type": "scatter", "mode": "markers", "x": [across.mean], "y": [up.mean], "marker": look}
    return of_policy(result.name, trace | {"hovertemplate": hover})


def loss(comparison: Comparison, texts: Texts) -> Figure | None:
    """More bits per byte than plain top-K against latency; None if no model reads."""
    if comparison.reading is None:
        return None
    color, symbol = _colours(comparison), by_place(_names(comparison), SYMBOLS)
    data = []
    for result in near(comparison.results):
        across, up = result.estimates["latency_ms"], result.estimates["bits_vs_top_k"]
        hover = f"<b>{plain(result.name)}</b><br>%{{x:.4g}} ms, %{{y:+.3g}} %<extra></extra>"
        trace = {
            "type": "scatter",
            "mode": "markers",
            "x": [across.mean],
            "y": [100.0 * (up.mean - 1.0)],
            "marker": {"color": color[result.name], "size": 11, "symbol": symbol[result.name]},
            "error_x": _ends(across.mean, across.low, across.high),
            "error_y": _ends(100.0 * up.mean, 100.0 * up.low, 100.0 * up.high),
            "hovertemplate": hover,
        }
        data.append(of_policy(result.name, trace))
    axes = {"xaxis": axis(texts["axis_latency"]), "yaxis": axis(texts["axis_bits"], zeroline=True, zerolinecolor=GREY)}
    return {"data": data, "layout": layout(380, **axes)}


def _ends(mean: float, low: float, high: float) -> dict[str, Any]:
    return {"type": "data", "symmetric": False, "array": [high - mean], "arrayminus": [mean - low], "thickness": 1.2}


def profiles(comparison: Comparison, texts: Texts) -> Figure:
    """Share of runs and episodes with more reward than each level, with bands."""
    color, dash = _colours(comparison), by_place(_names(comparison), DASHES)
    data = []
    for name, curve in profile_curves(comparison).items():
        level, band = rounded(curve.levels), [*rounded(curve.high), *rounded(curve.low)[::-1]]
        around = {"x": [*level, *level[::-1]], "y": band, "fill": "toself", "fillcolor": _pale(color[name])}
        data.append(of_policy(name, {"type": "scatter", "mode": "none", "hoverinfo": "skip", **around}))
        line = {"color": color[name], "width": 2, "dash": dash[name]}
        hover = f"<b>{plain(name)}</b><br>%{{y:.1%}} > %{{x:.4g}}<extra></extra>"
        trace = {"type": "scatter", "mode": "lines", "x": level, "y": rounded(curve.share), "line": line}
        data.append(of_policy(name, trace | {"hovertemplate": hover}))
    axes = {
        "xaxis": axis(texts["axis_reward"]),
        "yaxis": axis(texts["axis_share_above"], range=[0, 1.01], tickformat=".0%"),
    }
    return {"data": data, "layout": layout(380, **axes)}


def layer_latency(comparison: Comparison, texts: Texts) -> Figure:
    """Distribution of single layers' latency."""
    color, dash = _colours(comparison), by_place(_names(comparison), DASHES)
    share, data = np.linspace(0, 1, QUANTILES + 1), []
    for result in comparison.results:
        line = {"color": color[result.name], "width": 2, "dash": dash[result.name]}
        hover = f"<b>{plain(result.name)}</b><br>%{{y:.1%}} ≤ %{{x:.4g}} ms<extra></extra>"
        across = rounded(np.quantile(layer_ms(result), share))
        trace = {"type": "scatter", "mode": "lines", "x": across, "y": rounded(share), "line": line}
        data.append(of_policy(result.name, trace | {"hovertemplate": hover}))
    ends = np.array([np.percentile(layer_ms(result), [0.2, 99]) for result in near(comparison.results)])
    axes = {
        "xaxis": axis(texts["axis_layer"], range=[0.9 * float(ends[:, 0].min()), 1.1 * float(ends[:, 1].max())]),
        "yaxis": axis(texts["axis_share_below"], range=[0, 1.01], tickformat=".0%"),
    }
    return {"data": data, "layout": layout(380, **axes)}


def bottlenecks(comparison: Comparison, texts: Texts) -> Figure:
    """In what share of layers each device, or kind of device, is the one that is waited for."""
    (labels, group), color = device_groups(comparison.scenario), _colours(comparison)
    sizes, place = np.bincount(group), list(range(len(labels)))
    data = []
    for result in comparison.results:
        hover = f"<b>{plain(result.name)}</b><br>%{{x}}: %{{y:.1%}}<extra></extra>"
        bar = {"type": "bar", "x": place, "y": rounded(slowest_shares(result, group))}
        data.append(of_policy(result.name, bar | {"marker": {"color": color[result.name]}, "hovertemplate": hover}))
    alike = [
        {
            "type": "line",
            "x0": at - 0.45,
            "x1": at + 0.45,
            "y0": part,
            "y1": part,
            "line": {"color": INK, "dash": "dot"},
        }
        for at, part in enumerate((sizes / sizes.sum()).tolist())
    ]
    named = [plain(label) for label in labels]
    axes = {
        "xaxis": axis(tickvals=place, ticktext=named, automargin=True),
        "yaxis": axis(texts["axis_waited"], tickformat=".0%"),
    }
    return {"data": data, "layout": layout(360, barmode="group", shapes=alike, **axes)}


def _names(comparison: Comparison) -> list[str]:
    return [result.name for result in comparison.results]


def _colours(comparison: Comparison) -> dict[str, str]:
    return style.colors(_names(comparison))


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


DRAWN: Final[dict[str, Callable[[Comparison, Texts], Figure | None]]] = {
    "latency": latency,
    "trade_off": trade_off,
    "loss": loss,
    "profiles": profiles,
    "layer_latency": layer_latency,
    "bottlenecks": bottlenecks,
    "learning": learning.learning,
}
"""In the order of the report."""
