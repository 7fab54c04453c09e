"""Bars, one a device and policy: how the band is split, how long each device takes and which one all wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from explorer.figures.shown import Shown
from explorer.figures.style import COLOURS, GREY, PALE, Figure, axis, device_axis, layout, plain, rounded

MOST_PLAIN = 2.0
"""Times the longest latency up to which plain top-K's has a line; a longer one would flatten all else."""


def device_bars(shown: Sequence[Shown], texts: Mapping[str, str]) -> Figure:
    """Times above, communication below computation, with lines where the layer ends and where plain top-K would; below
    them the split of the band, with a line at an equal share.
    """
    scenario = shown[0].moment.scene.scenario
    names = [f"{device} {plain(name)}" for device, name in enumerate(scenario.device_names)]
    longest, plain_s = max(one.step.metrics["latency"] for one in shown), shown[0].step.metrics["latency_top_k"]
    ends = [_line(1e3 * one.step.metrics["latency"], COLOURS[one.place], "solid", "y") for one in shown]
    if plain_s < MOST_PLAIN * longest:
        ends.append(_line(1e3 * plain_s, GREY, "dash", "y"))
    top = 1.06 * max(line["y0"] for line in ends)
    equal = _line(scenario.radio.bandwidth_hz / 1e6 / scenario.num_devices, GREY, "dash", "y2")
    return {
        "data": [bar for one in shown for bar in (*_times(one, names, texts), _band(one, names))],
        "layout": layout(
            380,
            barmode="group",
            bargap=0.25,
            xaxis=device_axis(scenario.device_names, texts["axis_device"]) | {"anchor": "y2"},
            yaxis=axis(texts["axis_ms"], range=[0, top if np.isfinite(top) and top > 0 else 1.0], domain=[0.47, 1.0]),
            yaxis2=axis(texts["axis_megahertz"], rangemode="tozero", domain=[0.0, 0.38]),
            shapes=[*ends, equal],
        ),
    }


def _band(one: Shown, names: list[str]) -> dict[str, Any]:
    hover = f"<b>%{{customdata}}</b><br>{plain(one.label)}: %{{y:.3g}} MHz<extra></extra>"
    return _bar(one, one.step.bandwidth / 1e6, COLOURS[one.place], names) | {"hovertemplate": hover, "yaxis": "y2"}


def _times(one: Shown, names: list[str], texts: Mapping[str, str]) -> list[dict[str, Any]]:
    sending, computing = 1e3 * one.step.communication, 1e3 * one.step.computation
    said = [_said(one, device, texts) for device in range(len(names))]
    hover = {"text": said, "textposition": "none", "hovertemplate": "<b>%{customdata}</b><br>%{text}<extra></extra>"}
    return [
        _bar(one, sending, COLOURS[one.place], names) | hover,
        _bar(one, computing, PALE[one.place], names) | hover | {"base": rounded(sending)},
    ]


def _said(one: Shown, device: int, texts: Mapping[str, str]) -> str:
    """Of one device: its times, and what waits for what."""
    if one.tokens[device] == 0:
        return f"{plain(one.label)}: {texts['no_tokens']}"
    parts = texts["hover_parts"].format(
        sending=1e3 * one.step.communication[device], computing=1e3 * one.step.computation[device]
    )
    early = 1e3 * (one.step.metrics["latency"] - one.times[device])
    waits = texts["waited_for"] if device == one.waiting else texts["waits"].format(ms=early)
    return f"{plain(one.label)}: {parts}<br>{waits}"


def _bar(one: Shown, values: Any, colour: str, names: list[str]) -> dict[str, Any]:
    bar = {"type": "bar", "x": list(range(len(names))), "y": rounded(values), "offsetgroup": str(one.place)}
    return bar | {"marker": {"color": colour}, "customdata": names, "name": plain(one.label)}


def _line(height: float, colour: str, dash: str, yaxis: str) -> dict[str, Any]:
    line = {"color": colour, "width": 1.6, "dash": dash}
    return {"type": "line", "xref": "paper", "yref": yaxis, "x0": 0, "x1": 1, "y0": height, "y1": height, "line": line}
