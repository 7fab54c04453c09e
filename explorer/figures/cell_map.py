"""The cell from above: who is where, and whose link has how much of the band."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from explorer.figures.shown import Shown
from explorer.figures.style import BAND, FAINT, GREY, INK, NAMED, WAITING, Figure, layout, plain, rounded

WIDTHS = 1.0, 2.0, 3.5, 5.5, 8.0
"""Of links: those without a band, then four classes, each twice the share of the one before."""
CLASSES = 0.25, 0.5, 1.0
"""Ends of the classes, in times an equal share."""


def cell_map(shown: Shown, texts: Mapping[str, str]) -> Figure:
    """Base station, devices and links; thick and dark where a link has much of the band."""
    scene = shown.moment.scene
    extent = 1.12 * max(scene.scenario.channel.distance_m.high, float(np.abs(scene.position).max()))
    share = shown.step.bandwidth / scene.scenario.radio.bandwidth_hz
    grade = np.where(share <= 0, 0, 1 + np.digitize(share * len(share), CLASSES))
    links = [
        _links(scene.position[grade == number], number) for number in range(len(WIDTHS)) if (grade == number).any()
    ]
    span: dict[str, Any] = {"visible": False, "range": [-extent, extent], "fixedrange": True}
    return {
        "data": [*links, _station(), _devices(shown, share, texts)],
        "layout": layout(
            250,
            margin={"l": 0, "r": 0, "t": 0, "b": 0},
            xaxis=span,
            yaxis=span | {"scaleanchor": "x"},
            shapes=[_ring(radius) for radius in _radii(extent)],
            annotations=[_ring_label(radius) for radius in _radii(extent)],
        ),
    }


def _links(points: Any, grade: int) -> dict[str, Any]:
    x, y = (
        np.stack([0 * part, part, np.full(len(part), np.nan)], axis=1).ravel() for part in (points.real, points.imag)
    )
    line = {"color": BAND[grade], "width": WIDTHS[grade], "dash": "dot" if grade == 0 else "solid"}
    return {"type": "scatter", "mode": "lines", "x": _gaps(x), "y": _gaps(y), "line": line, "hoverinfo": "skip"}


def _gaps(values: Any) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 1) for value in values]


def _station() -> dict[str, Any]:
    marker = {"symbol": "triangle-up", "size": 17, "color": INK, "line": {"color": "white", "width": 1.5}}
    return {"type": "scatter", "mode": "markers", "x": [0], "y": [0], "marker": marker, "hoverinfo": "skip"}


def _devices(shown: Shown, share: Any, texts: Mapping[str, str]) -> dict[str, Any]:
    scene, few = shown.moment.scene, shown.moment.scene.scenario.num_devices <= NAMED
    at_end = np.arange(len(share)) == shown.waiting
    marker = {
        "size": 22 if few else 13,
        "color": "white",
        "line": {
            "color": [WAITING if last else INK for last in at_end],
            "width": [3.0 if last else 1.2 for last in at_end],
        },
    }
    said = [_said(shown, device, share, texts) for device in range(len(share))]
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": rounded(scene.position.real),
        "y": rounded(scene.position.imag),
        "text": [str(device) for device in range(len(share))],
        "textfont": {"size": 12 if few else 8, "color": INK},
        "hovertext": said,
        "hovertemplate": "%{hovertext}<extra></extra>",
        "marker": marker,
    }


def _said(shown: Shown, device: int, share: Any, texts: Mapping[str, str]) -> str:
    scene = shown.moment.scene
    lines = [
        f"<b>{device} {plain(scene.scenario.device_names[device])}</b>",
        texts["hover_distance"].format(metres=abs(scene.position[device])),
        texts["hover_band"].format(share=share[device], megahertz=shown.step.bandwidth[device] / 1e6),
        texts["hover_tokens"].format(tokens=shown.tokens[device]),
        texts["hover_time"].format(ms=1e3 * shown.times[device]),
    ]
    if scene.load[device] > 0:
        lines.append(texts["hover_load"].format(load=scene.load[device]))
    if device == shown.waiting:
        lines.append(f"<b>{texts['hover_waiting']}</b>")
    return "<br>".join(lines)


def _radii(extent: float) -> list[float]:
    """Radii of two or three circles at round distances."""
    power = 10.0 ** np.floor(np.log10(extent))
    step = next(float(step * power) for step in (0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5) if 3.6 * step * power >= extent)
    return [step * ring for ring in (1, 2, 3) if step * ring <= extent]


def _ring(radius: float) -> dict[str, Any]:
    ends = {"x0": -radius, "x1": radius, "y0": -radius, "y1": radius}
    return {"type": "circle", "layer": "below", "line": {"color": FAINT, "width": 1}, **ends}


def _ring_label(radius: float) -> dict[str, Any]:
    look = {"showarrow": False, "font": {"size": 10, "color": GREY}, "bgcolor": "white", "borderpad": 1}
    return {"x": 0, "y": -radius, "text": f"{radius:g} m", **look}
