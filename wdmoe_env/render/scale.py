"""Scale: the numbers and lines of a vertical axis that often changes."""

from __future__ import annotations

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import LineCollection
from matplotlib.ticker import ScalarFormatter

from wdmoe_env.render.label import Label
from wdmoe_env.render.style import FAINT, GREY

PAD = 3.5
"""Points between numbers and axis."""


class Scale(Artist):
    """Numbers and faint lines from 0 to a limit, in the place of matplotlib's, which take ten times as long to draw."""

    def __init__(self, axes: Axes) -> None:
        super().__init__()
        self._axes, self._labels = axes, list[Label]()
        self._beside, self._valign, self._halign = axes.get_yaxis_text1_transform(PAD)
        self._lines = LineCollection([], colors=FAINT, linewidths=0.8, transform=axes.get_yaxis_transform("grid"))
        self._numbers_shown, self._format = True, ScalarFormatter(useOffset=False)
        self._format.set_scientific(False)
        self._format.set_axis(axes.yaxis)
        axes.yaxis.set_visible(False)
        axes.add_artist(self)
        self._lines.set_figure(axes.figure)
        self._lines.set_clip_path(axes.patch)
        self.set_zorder(0.5)

    def show_numbers(self, shown: bool) -> None:
        """Show or hide the numbers; the lines stay."""
        self._numbers_shown = shown

    def set_limit(self, limit: float) -> None:
        """Let the axis end elsewhere."""
        if self._labels and self._axes.get_ylim() == (0.0, limit):
            return
        self._axes.set_ylim(0.0, limit)
        places = [place for place in self._axes.yaxis.get_major_locator()() if 0.0 <= place <= limit]
        self._lines.set_segments([[(0, place), (1, place)] for place in places])
        texts = self._format.format_ticks(places)
        self._labels = [self._number(place, text) for place, text in zip(places, texts, strict=True)]

    def draw(self, renderer: RendererBase) -> None:
        """Draw lines and numbers."""
        self._lines.draw(renderer)
        for label in self._labels if self._numbers_shown else ():
            label.draw(renderer)
        self.stale = False

    def _number(self, place: float, text: str) -> Label:
        label = Label(0, place, text, fontsize=8, color=GREY, va=self._valign, ha=self._halign, transform=self._beside)
        label.set_figure(self._axes.figure)
        return label
