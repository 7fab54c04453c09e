"""The cell from above: who is where, and whose link has how much of the band. Drawn by `static/pictures.js`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from explorer.figures.shown import Shown
from explorer.figures.style import rounded
from wdmoe_env.arrays import FloatArray
from wdmoe_env.render.cell_map import radii

CLASSES = 0.25, 0.5, 1.0
"""Where the classes of links end, in times an equal share: class 0 has no band, each other one twice the one before."""


def cell_map(shown: Shown, texts: Mapping[str, str]) -> dict[str, Any]:
    """Devices, rings of distance, and links, thick and dark where they have much of the band.

    Returns `extent` and `rings` in m; of the devices `x` and `y` in m, the class of the `link`, what is `said` of each,
    and which one all are `waiting` for.
    """
    scene = shown.moment.scene
    farthest = max(scene.scenario.channel.distance_m.high, float(np.abs(scene.position).max()))
    share = shown.step.bandwidth / scene.scenario.radio.bandwidth_hz
    return {
        "extent": 1.12 * farthest,
        "rings": radii(farthest),
        "x": rounded(scene.position.real),
        "y": rounded(scene.position.imag),
        "link": np.where(share <= 0, 0, 1 + np.digitize(share * len(share), CLASSES)).tolist(),
        "said": [_said(shown, device, share, texts) for device in range(len(share))],
        "waiting": shown.waiting,
    }


def _said(shown: Shown, device: int, share: FloatArray, texts: Mapping[str, str]) -> str:
    scene = shown.moment.scene
    lines = [
        f"{device} {scene.scenario.device_names[device]}",
        texts["hover_distance"].format(metres=abs(scene.position[device])),
        texts["hover_band"].format(share=share[device], megahertz=shown.step.bandwidth[device] / 1e6),
        texts["hover_tokens"].format(tokens=shown.tokens[device]),
        texts["hover_time"].format(ms=1e3 * shown.times[device]),
    ]
    if scene.load[device] > 0:
        lines.append(texts["hover_load"].format(load=scene.load[device]))
    if device == shown.waiting:
        lines.append(texts["hover_waiting"])
    return "\n".join(lines)
