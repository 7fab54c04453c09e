"""CellMap: who is where, and whose link has how much of the band."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Circle
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from wdmoe_env.render.label import Label
from wdmoe_env.render.scene import Scene
from wdmoe_env.render.style import (
    FAINT,
    GREY,
    INK,
    NAMED_DEVICES,
    WAITING,
    band_colours,
    band_share,
    panel_title,
    waiting_device,
)

OUTLINE = [Stroke(linewidth=2.5, foreground="white"), Normal()]


class CellMap:
    """Base station and devices from above; links are thick and dark where they have much of the band."""

    def __init__(self, axes: Axes, scene: Scene) -> None:
        extent, devices = scene.scenario.channel.distance_m.high, scene.scenario.num_devices
        few = devices <= NAMED_DEVICES
        axes.set(xlim=(-1.2 * extent, 1.2 * extent), ylim=(-1.12 * extent, 1.12 * extent), aspect="equal")
        axes.axis("off")
        panel_title(axes, "Cell: links by bandwidth" + (", devices with distance" if few else ""))
        self._rings = {radius: _draw_ring(axes, radius) for radius in radii(extent)}
        self._lines = axes.add_collection(LineCollection([], zorder=2, capstyle="round"))
        station = axes.scatter([0], [0], s=240, marker="^", color=INK, zorder=4, edgecolors="white", linewidths=1.5)
        nowhere = np.zeros(devices)
        self._dots = axes.scatter(nowhere, nowhere, s=210 if few else 85, zorder=5, facecolors="white")
        self._names = [
            _label(axes, str(device), fontsize=9 if few else 6, color=INK, zorder=6) for device in range(devices)
        ]
        self._distances = [
            _label(axes, "", fontsize=8, color=INK, zorder=7, path_effects=OUTLINE)
            for _ in range(devices if few else 0)
        ]
        self._lift = 0.087 * extent
        links = *self._rings.values(), self._lines, station, self._dots
        self.changing: tuple[Artist, ...] = *links, *self._names, *self._distances

    def update(self, scene: Scene) -> None:
        points = np.stack([scene.position.real, scene.position.imag], axis=-1)
        share, waiting = band_share(scene), waiting_device(scene)
        widths = np.where(share > 0, 0.8 + 7.0 * np.sqrt(share / max(share.max(), 1e-12)), 0.6)
        self._lines.set(
            segments=np.stack([np.zeros_like(points), points], axis=1), color=band_colours(share), linewidth=widths
        )
        self._dots.set_offsets(points)
        self._dots.set_edgecolor([WAITING if u == waiting else INK for u in range(len(points))])
        self._dots.set_linewidth([2.5 if u == waiting else 1.0 for u in range(len(points))])
        for radius, text in self._rings.items():
            text.set_position(_free_place(radius, scene.position))
        for name, (x, y) in zip(self._names, points, strict=True):
            name.set_position((x, y))
        for label, (x, y) in zip(self._distances, points, strict=False):
            label.set_position((x, y + (self._lift if y >= 0 else -self._lift)))
            label.set_text(f"{np.hypot(x, y):.0f} m")


def _draw_ring(axes: Axes, radius: float) -> Label:
    axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=FAINT, linewidth=1.0, zorder=0))
    return _label(axes, f"{radius:g} m", fontsize=7.5, color=GREY, path_effects=OUTLINE, zorder=1)


def _label(axes: Axes, text: str, **style: Any) -> Label:
    label = Label(0, 0, text, ha="center", va="center", **style)
    axes.add_artist(label)
    return label


def _free_place(radius: float, position: NDArray[np.complex128]) -> tuple[float, float]:
    """The point of a ring where the devices leave most room for its label."""
    places = radius * np.exp(2j * np.pi * np.arange(24) / 24)
    place = places[np.abs(places[:, None] - position).min(axis=1).argmax()]
    return float(place.real), float(place.imag)


def radii(extent: float) -> list[float]:
    """Radii of two or three circles at round distances."""
    power = 10.0 ** np.floor(np.log10(extent))
    step = next(float(step * power) for step in (0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5) if 3.6 * step * power >= extent)
    return [step * ring for ring in (1, 2, 3) if step * ring <= 1.05 * extent]
