"""Label: text that changes from picture to picture."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patheffects import AbstractPathEffect
from matplotlib.text import Text
from numpy.typing import NDArray

PHASES: Final = 2
"""Places within a pixel at which pieces are drawn."""
STYLES, KEPT = 64, 1024
"""How many styles are kept, and of how many pieces in each."""
LEFT_OF_ANCHOR: Final = {"left": 0.0, "center": 0.5, "right": 1.0}
NEW_LINE: Final = "\n"
AGG: Final[Any] = RendererAgg  # matplotlib has no types for it


@dataclass(frozen=True, slots=True)
class Style:
    """How text looks, and how many pixels an inch has."""

    font: FontProperties
    colour: Any
    valign: Any
    effect: AbstractPathEffect | None
    dpi: float


@dataclass(frozen=True, slots=True)
class Sprite:
    """A piece of text as a picture, (H, W, 4), upside down as matplotlib has it; x and y are of its lower left."""

    picture: NDArray[np.uint8]
    x: int
    y: int


class Label(Text):
    """Text of one line that is drawn fast; empty lines may stand above it.

    Matplotlib takes a third of a millisecond for each letter, each time. Here digits, and what is between them, are
    kept as pictures, so that new numbers cost next to nothing. Only for Agg: other renderers write text as ever.
    """

    def draw(self, renderer: RendererBase) -> None:
        """Draw it where it is anchored."""
        if not isinstance(renderer, RendererAgg):
            super().draw(renderer)
        elif self.get_visible():
            dpi = pixels(renderer, 72.0)
            x, y = self.get_transform().transform(self.get_position())
            x -= LEFT_OF_ANCHOR[self.get_horizontalalignment()] * self.width(dpi)
            # An outline lies below all letters, not only below its own.
            for effect in self.get_path_effects() or (None,):
                self._draw_pieces(renderer, self._letters(dpi, effect), float(x), float(y))
        self.stale = False

    def width(self, dpi: float) -> float:
        """Pixels from its left to its right."""
        letters = self._letters(dpi, None)  # matplotlib aligns outlined text, too, by the widths of plain text
        return sum(letters.width(piece) for piece in _pieces(self.get_text()))

    def _letters(self, dpi: float, effect: AbstractPathEffect | None) -> Letters:
        return _letters(Style(self.get_fontproperties(), self.get_color(), self.get_verticalalignment(), effect, dpi))

    def _draw_pieces(self, renderer: RendererAgg, letters: Letters, x: float, y: float) -> None:
        row, up = _in_phases(y)
        gc = renderer.new_gc()
        for piece in _pieces(self.get_text()):
            column, right = _in_phases(x)
            sprite = letters.sprite(piece, right, up)
            if sprite is not None:
                renderer.draw_image(gc, column + sprite.x, row + sprite.y, sprite.picture)
            x += letters.width(piece)
        gc.restore()


class Letters:
    """Pieces of text in one style: how wide they are, and what they look like. What was asked for is kept."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._em = math.ceil(style.font.get_size_in_points() * style.dpi / 72.0)
        # Outlined letters are paths, whose widths no hinting rounds to pixels.
        self._enlarged = 1.0 if style.effect is None else 16.0
        self._ruler = AGG(1, 1, style.dpi * self._enlarged)
        self._figure = Figure(dpi=style.dpi)
        self.width, self.sprite = lru_cache(KEPT)(self._width), lru_cache(KEPT)(self._sprite)

    def _width(self, piece: str) -> float:
        """How far right of a piece the next one is, pixels; blanks at an end are measured only between others."""
        inner, outer = (self._measured(text) for text in (f"0{piece.lstrip(NEW_LINE)}0", "00"))
        return (inner - outer) / self._enlarged

    def _measured(self, text: str) -> float:
        return float(self._ruler.get_text_width_height_descent(text, self._style.font, False)[0])

    def _sprite(self, piece: str, right: int, up: int) -> Sprite | None:
        """Let matplotlib draw a piece so many phases right of and above a pixel; None if there is no ink."""
        style, x, y = self._style, self._em, 2 * self._em * (1 + piece.count(NEW_LINE))
        text = Text(x + right / PHASES, y + up / PHASES, piece, parse_math=False)
        text.set(fontproperties=style.font, color=style.colour, verticalalignment=style.valign)
        text.set_path_effects([] if style.effect is None else [style.effect])
        text.set_figure(self._figure)
        renderer = AGG(math.ceil(self.width(piece)) + 2 * x, 2 * y, style.dpi)
        text.draw(renderer)
        picture = np.asarray(renderer.buffer_rgba())[::-1]
        rows, columns = (np.flatnonzero(picture[:, :, 3].any(axis=axis)) for axis in (1, 0))
        if len(rows) == 0:
            return None
        ink = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return Sprite(np.ascontiguousarray(ink), int(columns[0]) - x, int(rows[0]) - y)


_letters = lru_cache(STYLES)(Letters)


@lru_cache(KEPT)
def _pieces(text: str) -> tuple[str, ...]:
    """Digits, which are all of one width, and what is between them; each keeps the empty lines above."""
    line = text.lstrip(NEW_LINE)
    above = text[: len(text) - len(line)]
    return tuple(above + piece for piece in re.findall(r"[0-9]|[^0-9]+", line))


def pixels(renderer: RendererBase, points: float) -> float:
    """A length as long as a renderer draws it."""
    return float(np.asarray(renderer.points_to_pixels(points)))


def _in_phases(place: float) -> tuple[int, int]:
    """A place in pixels as a whole number and phases."""
    return divmod(round(place * PHASES), PHASES)
