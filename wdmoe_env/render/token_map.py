"""TokenMap: which experts each token uses, and which of its top-K it does not."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from wdmoe_env.render.scene import Scene
from wdmoe_env.render.style import ADDED, CHOSEN, DROPPED, FAINT, GREY, panel_title, quiet, side_legend

SEPARATED_ROWS = 32


class TokenMap:
    """Tokens from left to right, experts from top to bottom, device by device."""

    def __init__(self, axes: Axes, scene: Scene) -> None:
        scenario, k = scene.scenario, scene.scenario.model.top_k
        self._order = np.argsort(scenario.hosts, kind="stable")
        hosts, tokens = scenario.hosts[self._order], scenario.traffic.tokens
        blank = np.zeros((len(hosts), tokens, 3))
        self._image = axes.imshow(blank, aspect="auto", interpolation="nearest", interpolation_stage="rgba")
        panel_title(axes, f"Where the {tokens} tokens go")
        quiet(axes)
        axes.set_xlabel("token", fontsize=8.5, color=GREY, labelpad=1)
        one_to_one = scenario.compute_model.one_to_one
        axes.set_ylabel("expert = device" if one_to_one else "expert on device", fontsize=8.5, color=GREY)
        ticks = np.arange(0, len(hosts), max(1, len(hosts) // 8))
        names = [str(e) if one_to_one else f"{e} on {u}" for e, u in zip(self._order[ticks], hosts[ticks], strict=True)]
        axes.set_yticks(ticks, names)
        for row in np.flatnonzero(np.diff(hosts)) if len(hosts) <= SEPARATED_ROWS else ():
            axes.axhline(row + 0.5, color="white", linewidth=1.5)
        patches = [Patch(facecolor=colour) for colour in (CHOSEN(0.8), DROPPED, ADDED, FAINT)]
        self._labels = "chosen, darker with weight", f"dropped from the top-{k}", f"outside the top-{k}", "not chosen"
        self._legend = side_legend(axes, patches, self._labels)

    def update(self, scene: Scene) -> None:
        routed = scene.routed
        chosen = routed if scene.step is None else scene.step.selection
        marks = chosen & routed, routed & ~chosen, chosen & ~routed, ~chosen & ~routed
        picture = CHOSEN(0.45 + 0.55 * scene.gate_weights / scene.gate_weights.max())[:, :, :3]
        for mark, colour in zip(marks[1:], (DROPPED, ADDED, FAINT), strict=True):
            picture[mark] = to_rgb(colour)
        self._image.set_data(picture.swapaxes(0, 1)[self._order])
        for text, label, mark in zip(self._legend.get_texts(), self._labels, marks, strict=True):
            text.set_text(f"{label}: {np.count_nonzero(mark)}")
