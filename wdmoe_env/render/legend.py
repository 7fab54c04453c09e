"""SideLegend: what colours and lines mean, in one line beside the title of a panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from wdmoe_env.render.label import Label, pixels
from wdmoe_env.render.style import INK

SIZE = 8.5
"""Points; the lengths below are in this unit, and those that matplotlib's legends have."""
HANDLE, HANDLE_HEIGHT, GAP, SPACING, BORDER = 1.4, 0.7, 0.8, 1.4, 0.5


class SideLegend(Artist):
    """A legend in one line at the upper right of a panel, whose labels may change.

    Matplotlib's own looks for the places of its texts in each picture, which takes longer than all that is drawn here.

    Args:
        axes: of the panel.
        handles: what stands before each label; they are put in their places.
        labels: one for each handle.
    """

    def __init__(self, axes: Axes, handles: Sequence[Rectangle | Line2D], labels: Sequence[str]) -> None:
        super().__init__()
        self._box, self._handles = axes.bbox, handles
        self._labels = [Label(0, 0, label, fontsize=SIZE, color=INK, va="baseline") for label in labels]
        axes.add_artist(self)
        for part in (*self._handles, *self._labels):
            part.set_figure(axes.figure)

    def set_labels(self, *texts: str) -> None:
        """Show other labels."""
        for label, text in zip(self._labels, texts, strict=True):
            label.set_text(text)

    def draw(self, renderer: RendererBase) -> None:
        """Draw from right to left."""
        em, dpi = pixels(renderer, SIZE), pixels(renderer, 72.0)
        below = renderer.get_text_width_height_descent("lp", self._labels[0].get_fontproperties(), False)[2]
        right, y = self._box.x1 - BORDER * em, self._box.y1 + BORDER * em + below
        for handle, label in zip(reversed(self._handles), reversed(self._labels), strict=True):
            x = right - label.width(dpi)
            label.set_position((x, y))
            _place(handle, x - (HANDLE + GAP) * em, y, em)
            label.draw(renderer)
            handle.draw(renderer)
            right = x - (HANDLE + GAP + SPACING) * em
        self.stale = False


def area(colour: Any) -> Rectangle:
    """A handle for what is filled with a colour."""
    return Rectangle((0, 0), 1, 1, facecolor=colour)


def _place(handle: Rectangle | Line2D, x: float, y: float, em: float) -> None:
    if isinstance(handle, Rectangle):
        handle.set_bounds(x, y, HANDLE * em, HANDLE_HEIGHT * em)
    else:
        handle.set_data([x, x + HANDLE * em], [y + HANDLE_HEIGHT / 2 * em] * 2)
