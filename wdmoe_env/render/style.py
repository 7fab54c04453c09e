"""What the panels share: colours, plain axes, round numbers."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from numpy.typing import NDArray

from wdmoe_env.arrays import FloatArray
from wdmoe_env.render.scene import Scene

INK: Final = "#1f2933"
GREY: Final = "#7b8794"
FAINT: Final = "#e9ecef"
WAITING: Final = "#d1495b"
COMMUNICATION: Final = "#3d7ea6"
COMPUTATION: Final = "#f0a04b"
DROPPED: Final = "#f0a04b"
ADDED: Final = "#8f5db7"
CHOSEN: Final = colormaps["GnBu"]
BAND: Final = colormaps["YlGnBu"]

NAMED_DEVICES: Final = 12
"""Up to so many devices are labelled one by one."""


def waiting_device(scene: Scene) -> int | None:
    """Index of the device that the layer waits for; None before the step."""
    return None if scene.step is None else int(scene.step.metrics["bottleneck"])


def band_share(scene: Scene) -> FloatArray:
    """(U,) share of the band; 0 before the step."""
    if scene.step is None:
        return np.zeros(scene.scenario.num_devices)
    return scene.step.bandwidth / scene.scenario.radio.bandwidth_hz


def band_colours(share: FloatArray) -> NDArray[np.float64]:
    """(U, 4) colours, darker with bandwidth; grey for devices that have none."""
    colours = np.asarray(BAND(0.3 + 0.6 * share / max(share.max(), 1e-12)))
    colours[share <= 0] = (0.8, 0.82, 0.84, 1.0)
    return colours


def quiet(axes: Axes) -> None:
    """Take away what is not data."""
    axes.tick_params(labelsize=8, labelcolor=GREY, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def panel_title(axes: Axes, text: str) -> None:
    """Put a title at the upper left of a panel."""
    axes.set_title(text, fontsize=10.5, color=INK, loc="left", weight="bold")


def device_axes(axes: Axes, scene: Scene) -> None:
    """Prepare axes for one bar a device."""
    devices = scene.scenario.num_devices
    quiet(axes)
    axes.set_xlim(-0.7, devices - 0.3)
    if devices <= NAMED_DEVICES:
        names = [f"{u}\n{name}" for u, name in enumerate(scene.scenario.device_names)]
        axes.set_xticks(range(devices), names)
    else:
        axes.set_xticks(range(0, devices, 4 if devices <= 80 else devices // 16))


def round_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten: axes that do not twitch from picture to picture."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(power * next(step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15) if step * power >= value))


def duration(seconds: float) -> str:
    """A time with a unit that suits it.

    >>> duration(0.01234), duration(2.5)
    ('12.3 ms', '2.5 s')
    """
    return f"{seconds:.3g} s" if seconds >= 1.0 else f"{1e3 * seconds:.3g} ms"
