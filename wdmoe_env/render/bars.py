"""Bars, one a device: how the band is split, and how long each device takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

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
    side_legend,
    waiting_device,
)

DASHED: Any = (0, (4, 3))
TOGETHER = 1e-3
"""Devices whose times differ by less than this share of the latency finish together."""


class BandBars:
    """How the band is split, in MHz."""

    def __init__(self, axes: Axes, scene: Scene) -> None:
        devices = scene.scenario.num_devices
        self._axes, self._megahertz = axes, scene.scenario.radio.bandwidth_hz / 1e6
        device_axes(axes, scene)
        axes.set_xticklabels([])
        panel_title(axes, f"Bandwidth, MHz of {self._megahertz:g}")
        self._bars = axes.bar(range(devices), np.zeros(devices), width=0.78)
        even = axes.axhline(self._megahertz / devices, color=GREY, linewidth=0.9, linestyle=DASHED, zorder=3)
        side_legend(axes, [even], ["equal share"])

    def update(self, scene: Scene) -> None:
        share = band_share(scene)
        self._axes.set_ylim(0.0, round_up(1.05 * self._megahertz * max(share.max(), 1.5 / len(share))))
        for bar, part, colour in zip(self._bars, share, band_colours(share), strict=True):
            bar.set_height(self._megahertz * part)
            bar.set_facecolor(colour)


class TimeBars:
    """Communication and computation of each device; the slowest is the one that everything waits for."""

    def __init__(self, axes: Axes, scene: Scene) -> None:
        self._axes, scenario = axes, scene.scenario
        device_axes(axes, scene)
        panel_title(axes, "Device times, ms")
        places, nothing = range(scenario.num_devices), np.zeros(scenario.num_devices)
        self._sending = axes.bar(places, nothing, width=0.78, color=COMMUNICATION)
        self._computing = axes.bar(places, nothing, width=0.78, color=COMPUTATION)
        self._latency = axes.axhline(0.0, color=WAITING, linewidth=1.3, zorder=3)
        self._plain = axes.axhline(0.0, color=GREY, linewidth=0.9, linestyle=DASHED, zorder=3)
        self._legend = side_legend(
            axes,
            [self._sending, self._computing, self._latency, self._plain],
            ["communication", "computation", "", "plain top-k"],
        )
        self._frame = axes.add_patch(Rectangle((0, 0), 0.78, 0, fill=False, edgecolor=WAITING, linewidth=2.2, zorder=4))
        self._note = axes.text(0.5, 0.5, "before the first step", transform=axes.transAxes, color=GREY, ha="center",
                               va="center", bbox={"facecolor": "white", "edgecolor": "none"})  # fmt: skip
        load = scenario.load
        self._shows_load = scenario.num_devices <= NAMED_DEVICES and load.mean + load.std + load.thermal_slowdown > 0

    def update(self, scene: Scene) -> None:
        step, devices, waiting = scene.step, scene.scenario.num_devices, waiting_device(scene)
        sending = np.zeros(devices) if step is None else 1e3 * step.communication
        computing = np.zeros(devices) if step is None else 1e3 * step.computation
        for u, (low, high) in enumerate(zip(self._sending, self._computing, strict=True)):
            low.set_height(sending[u])
            high.set_y(sending[u])
            high.set_height(computing[u])
        self._frame.set_visible(waiting is not None)
        if waiting is not None:
            self._frame.set(x=waiting - 0.39, height=sending[waiting] + computing[waiting])
        self._mark_latency(scene, sending + computing)
        if self._shows_load:
            names = zip(scene.scenario.device_names, scene.load, strict=True)
            self._axes.set_xticklabels([f"{u}\n{name}\nload {load:.0%}" for u, (name, load) in enumerate(names)])

    def _mark_latency(self, scene: Scene, times: Any) -> None:
        step = scene.step
        self._note.set_visible(step is None)
        self._axes.tick_params(labelleft=step is not None)
        latency = 0.0 if step is None else 1e3 * step.metrics["latency"]
        plain = 0.0 if step is None else 1e3 * step.metrics["latency_top_k"]
        last = np.count_nonzero(times >= latency * (1.0 - TOGETHER))
        alone = f"all wait for {waiting_device(scene)}" if step is not None else "latency"
        self._legend.get_texts()[2].set_text(alone if step is None or last == 1 else f"{last} finish last together")
        self._latency.set_ydata([latency, latency])
        self._plain.set_ydata([plain, plain])
        # Plain top-k may take many times as long; then its line stays outside, and the header tells the ratio.
        self._axes.set_ylim(0.0, round_up(1.03 * max(latency, plain if plain < 2.0 * latency else 0.0, 1e-3)))
