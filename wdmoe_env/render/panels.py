"""The whole picture: a header, and panels that are built once for a scenario and then only updated."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from wdmoe_env.render.bars import BandBars, TimeBars
from wdmoe_env.render.cell_map import CellMap
from wdmoe_env.render.label import Label
from wdmoe_env.render.scene import Scene
from wdmoe_env.render.style import GREY, INK, WAITING, duration
from wdmoe_env.render.token_map import TokenMap


class Panels:
    """The whole picture: a header, the cell, the band, the device times, and where the tokens went.

    Attributes:
        changing: what differs between pictures, and what lies upon it, in the order of drawing; all else stays.
    """

    def __init__(self, figure: Figure, scene: Scene) -> None:
        figure.set_facecolor("white")
        self._parts = (
            Header(figure, scene),
            CellMap(figure.add_axes((0.025, 0.335, 0.365, 0.52)), scene),
            BandBars(figure.add_axes((0.44, 0.665, 0.54, 0.19)), scene),
            TimeBars(figure.add_axes((0.44, 0.395, 0.54, 0.2)), scene),
            TokenMap(figure.add_axes((0.065, 0.06, 0.915, 0.215)), scene),
        )
        self.changing: list[Artist] = [artist for part in self._parts for artist in part.changing]

    def update(self, scene: Scene) -> None:
        """Show another scene of the same scenario."""
        for part in self._parts:
            part.update(scene)


class Header:
    """Scenario and layer on the left, the step's figures on the right."""

    FIGURES = ("latency", "vs plain top-k", "reward", "retained gate mass", "experts per token")

    def __init__(self, figure: Figure, scene: Scene) -> None:
        self._title = _label(figure, 0.025, 0.945, fontsize=18, weight="bold", color=INK)
        self._subtitle = _label(figure, 0.025, 0.908, fontsize=10, color=GREY)
        self._values: list[Label] = []
        for place, caption in zip(np.linspace(0.485, 0.975, len(self.FIGURES)), self.FIGURES, strict=True):
            value = _label(figure, place, 0.948, fontsize=15, weight="bold", color=INK, ha="right")
            figure.text(place, 0.911, caption, fontsize=8.5, color=GREY, va="center", ha="right")
            self._values.append(value)
        self.changing: tuple[Artist, ...] = self._title, self._subtitle, *self._values

    def update(self, scene: Scene) -> None:
        scenario, step = scene.scenario, scene.step
        passes = scenario.traffic.passes_per_episode
        model = scenario.model
        self._title.set_text(f"{scenario.name}   layer {scene.layer + 1} of {model.layers}")
        where = f"pass {scene.forward_pass + 1} of {passes}  ·  " if passes > 1 else ""
        self._subtitle.set_text(
            f"{where}{scenario.num_devices} devices  ·  {model.experts} experts, top-{model.top_k}  ·  "
            f"{scenario.traffic.tokens} tokens"
        )
        texts = ["-"] * len(self.FIGURES)
        if step is not None:
            ratio = step.metrics["latency"] / step.metrics["latency_top_k"]
            texts = [
                duration(step.metrics["latency"]),
                f"{100.0 * (ratio - 1.0):+.0f} %",
                f"{step.metrics['reward']:.2f}",
                f"{step.metrics['retained_mass']:.3f}",
                f"{step.metrics['experts_per_token']:.2f}",
            ]
        for text, value in zip(self._values, texts, strict=True):
            text.set_text(value)
        below = step is not None and step.metrics["retained_mass"] < scenario.reward.mass_floor - 1e-6
        self._values[3].set_color(WAITING if below else INK)


def _label(figure: Figure, x: float, y: float, **style: Any) -> Label:
    label = Label(x, y, "", va="center", transform=figure.transFigure, **style)
    figure.add_artist(label)
    return label
