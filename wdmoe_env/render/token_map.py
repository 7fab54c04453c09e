"""TokenMap: which experts each token uses, and which of its top-K it does not."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import to_rgba
from numpy.typing import NDArray

from wdmoe_env.render.legend import SideLegend, area
from wdmoe_env.render.scene import Scene
from wdmoe_env.render.style import ADDED, CHOSEN, DROPPED, FAINT, GREY, panel_title, quiet

SEPARATED_ROWS = 32


class TokenMap:
    """Tokens from left to right, experts from top to bottom, device by device."""

    def __init__(self, axes: Axes, scene: Scene) -> None:
        scenario, k = scene.scenario, scene.scenario.model.top_k
        self._order = np.argsort(scenario.hosts, kind="stable")
        hosts, tokens = scenario.hosts[self._order], scenario.traffic.tokens
        axes.set(xlim=(-0.5, tokens - 0.5), ylim=(len(hosts) - 0.5, -0.5))
        self._mosaic = Mosaic(axes)
        panel_title(axes, f"Where the {tokens} tokens go")
        quiet(axes)
        axes.set_xlabel("token", fontsize=8.5, color=GREY, labelpad=1)
        one_to_one = scenario.compute_model.one_to_one
        axes.set_ylabel("expert = device" if one_to_one else "expert on device", fontsize=8.5, color=GREY)
        ticks = np.arange(0, len(hosts), max(1, len(hosts) // 8))
        names = [str(e) if one_to_one else f"{e} on {u}" for e, u in zip(self._order[ticks], hosts[ticks], strict=True)]
        axes.set_yticks(ticks, names)
        rows = np.flatnonzero(np.diff(hosts)) if len(hosts) <= SEPARATED_ROWS else ()
        lines = [axes.axhline(row + 0.5, color="white", linewidth=1.5) for row in rows]
        colours = CHOSEN(0.8), DROPPED, ADDED, FAINT
        self._labels = "chosen, darker with weight", f"dropped from the top-{k}", f"outside the top-{k}", "not chosen"
        self._legend = SideLegend(axes, [area(colour) for colour in colours], self._labels)
        self.changing: tuple[Artist, ...] = self._mosaic, *lines, self._legend

    def update(self, scene: Scene) -> None:
        routed = scene.routed
        chosen = routed if scene.step is None else scene.step.selection
        marks = chosen & routed, routed & ~chosen, chosen & ~routed, ~chosen & ~routed
        colours = CHOSEN(0.45 + 0.55 * scene.gate_weights / scene.gate_weights.max())
        for mark, colour in zip(marks[1:], (DROPPED, ADDED, FAINT), strict=True):
            colours[mark] = to_rgba(colour)
        self._mosaic.set_colours(colours.swapaxes(0, 1)[self._order])
        counts = (np.count_nonzero(mark) for mark in marks)
        self._legend.set_labels(*(f"{label}: {count}" for label, count in zip(self._labels, counts, strict=True)))


class Mosaic(Artist):
    """Equal tiles that fill a panel. Matplotlib's own images are resampled, which takes 20 times as long."""

    def __init__(self, axes: Axes) -> None:
        super().__init__()
        self._box = axes.bbox
        self._tiles = np.zeros((1, 1), np.uint32)
        axes.add_artist(self)

    def set_colours(self, colours: NDArray[np.float64]) -> None:
        """Show other tiles: (rows, columns, 4), the first row at the top."""
        tiles = np.round(255.0 * colours[::-1]).astype(np.uint8)  # matplotlib begins at the bottom
        # Each pixel is one number, because numpy takes many numbers faster than many short rows.
        self._tiles = tiles.view(np.uint32)[:, :, 0]

    def draw(self, renderer: RendererBase) -> None:
        """Each pixel has the colour of the tile in which its centre is."""
        rows = _tile_of_pixel(self._box.y0, self._box.y1, self._tiles.shape[0])
        columns = _tile_of_pixel(self._box.x0, self._box.x1, self._tiles.shape[1])
        picture = self._tiles.take(columns, axis=1).take(rows, axis=0).view(np.uint8)
        gc = renderer.new_gc()
        renderer.draw_image(gc, round(self._box.x0), round(self._box.y0), picture.reshape(len(rows), len(columns), 4))
        gc.restore()
        self.stale = False


def _tile_of_pixel(start: float, end: float, tiles: int) -> NDArray[np.intp]:
    """For each pixel from start to end, which of so many tiles its centre is in."""
    centres = np.arange(round(start), round(end)) + 0.5
    # Centres lie on edges, too: they are of the tile above, whatever the last bits say.
    return ((centres - start) / (end - start) * tiles + 1e-9).astype(np.intp).clip(0, tiles - 1)
