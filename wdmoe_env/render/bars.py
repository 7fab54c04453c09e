"""Bars, one a device: how the band is split, and how long each device takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from wdmoe_env.arrays import FloatArray
from wdmoe_env.render.label import Label
from wdmoe_env.render.legend import SideLegend, area
from wdmoe_env.render.scale import PAD, Scale
from wdmoe_env.render.scene import Scene
from wdmoe_env.render.style import (
    COMMUNICATION,
    COMPUTATION,
    GREY,
    NAMED_DEVICES,
    WAITING,
    band_colours,
    band_share,
    device_axes,
    panel_title,
    round_up,
    waiting_device,
)

WIDTH = 0.78
DASHED: Any = (0, (4, 3))
TOGETHER = 1e-3
"""Devices whose times differ by less than this share of the latency finish together."""


class BandBars:
    """How the band is split, in MHz."""

    def __init__(self, axes: Axes, scene: Scene) -> None:
        devices = scene.scenario.num_devices
        self._megahertz = scene.scenario.radio.bandwidth_hz / 1e6
        device_axes(axes, scene)
        axes.set_xticklabels([])
        panel_title(axes, f"Bandwidth, MHz of {self._megahertz:g}")
        self._scale, self._bars = Scale(axes), _bars(axes)
        dashed: Any = {"color": GREY, "linewidth": 0.9, "linestyle": DASHED}
        even = axes.axhline(self._megahertz / devices, **dashed, zorder=3)
        SideLegend(axes, [Line2D([], [], **dashed)], ["equal share"])
        self.changing: tuple[Artist, ...] = self._scale, self._bars, even

    def update(self, scene: Scene) -> None:
        share = band_share(scene)
        self._scale.set_limit(round_up(1.05 * self._megahertz * max(share.max(), 1.5 / len(share))))
        _set_bars(self._bars, np.zeros(len(share)), self._megahertz * share)
        self._bars.set_facecolor(band_colours(share).tolist())


class TimeBars:
    """Communication and computation of each device; the slowest is the one that everything waits for."""

    def __init__(self, axes: Axes, scene: Scene) -> None:
        scenario = scene.scenario
        device_axes(axes, scene)
        panel_title(axes, "Device times, ms")
        self._scale = Scale(axes)
        self._sending, self._computing = _bars(axes, color=COMMUNICATION), _bars(axes, color=COMPUTATION)
        dashed: Any = {"color": GREY, "linewidth": 0.9, "linestyle": DASHED}
        solid: Any = {"color": WAITING, "linewidth": 1.3}
        self._latency, self._plain = axes.axhline(0.0, **solid, zorder=3), axes.axhline(0.0, **dashed, zorder=3)
        lines = Line2D([], [], **solid), Line2D([], [], **dashed)
        self._legend = SideLegend(axes, [area(COMMUNICATION), area(COMPUTATION), *lines], [""] * 4)
        self._frame = axes.add_patch(Rectangle((0, 0), WIDTH, 0, fill=False, edgecolor=WAITING, linewidth=2.2))
        self._frame.set_zorder(4)
        self._note = axes.text(0.5, 0.5, "before the first step", transform=axes.transAxes, color=GREY, ha="center",
                               va="center", bbox={"facecolor": "white", "edgecolor": "none"})  # fmt: skip
        load = scenario.load
        shows_load = scenario.num_devices <= NAMED_DEVICES and load.mean + load.std + load.thermal_slowdown > 0
        self._loads = [_load(axes, device) for device in range(scenario.num_devices if shows_load else 0)]
        bars = self._scale, self._sending, self._computing, self._latency, self._plain, self._frame
        self.changing: tuple[Artist, ...] = *bars, self._note, self._legend, *self._loads

    def update(self, scene: Scene) -> None:
        step, devices, waiting = scene.step, scene.scenario.num_devices, waiting_device(scene)
        sending = np.zeros(devices) if step is None else 1e3 * step.communication
        computing = np.zeros(devices) if step is None else 1e3 * step.computation
        _set_bars(self._sending, np.zeros(devices), sending)
        _set_bars(self._computing, sending, computing)
        self._frame.set_visible(waiting is not None)
        if waiting is not None:
            self._frame.set(x=waiting - WIDTH / 2, height=sending[waiting] + computing[waiting])
        self._mark_latency(scene, sending + computing)
        for label, load in zip(self._loads, scene.load, strict=False):
            label.set_text(f"\n\nload {load:.0%}")

    def _mark_latency(self, scene: Scene, times: FloatArray) -> None:
        step = scene.step
        self._note.set_visible(step is None)
        self._scale.show_numbers(step is not None)
        latency = 0.0 if step is None else 1e3 * step.metrics["latency"]
        plain = 0.0 if step is None else 1e3 * step.metrics["latency_top_k"]
        last = np.count_nonzero(times >= latency * (1.0 - TOGETHER))
        alone = f"all wait for {waiting_device(scene)}" if step is not None else "latency"
        waiting = alone if step is None or last == 1 else f"{last} finish last together"
        self._legend.set_labels("communication", "computation", waiting, "plain top-k")
        self._latency.set_ydata([latency, latency])
        self._plain.set_ydata([plain, plain])
        # Plain top-k may take many times as long; then its line stays outside, and the header tells the ratio.
        self._scale.set_limit(round_up(1.03 * max(latency, plain if plain < 2.0 * latency else 0.0, 1e-3)))


def _bars(axes: Axes, color: str | None = None) -> PolyCollection:
    """All bars of one kind as one artist, which is drawn faster than one for each device."""
    bars = PolyCollection([], facecolors=color, edgecolors="none")
    axes.add_collection(bars, autolim=False)
    return bars


def _set_bars(bars: PolyCollection, bottom: FloatArray, height: FloatArray) -> None:
    left = np.arange(len(height)) - WIDTH / 2
    right, top = left + WIDTH, bottom + height
    corners = (left, bottom), (right, bottom), (right, top), (left, top)
    bars.set_verts(list(np.moveaxis(np.array(corners), -1, 0)))


def _load(axes: Axes, device: int) -> Label:
    """What stands below number and name of a device."""
    below, valign, halign = axes.get_xaxis_text1_transform(PAD)
    label = Label(device, 0, "", fontsize=8, color=GREY, va=valign, ha=halign, transform=below)
    axes.add_artist(label)
    return label
