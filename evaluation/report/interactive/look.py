"""How interactive figures look: quiet axes, short numbers, names that are shown as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Figure = dict[str, Any]
"""`data` and `layout`, as Plotly takes them."""
Texts = Mapping[str, str]
INK, GREY, FAINT, PAPER = "#1f2933", "#55606b", "#e4e8ec", "#ffffff"
FONT: Final = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'Noto Sans CJK SC', sans-serif"
SYMBOLS: Final = "circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "x", "hexagon", "star"
DASHES: Final = "solid", "dash", "dot", "longdashdot"


def layout(height: int, **more: Any) -> dict[str, Any]:
    """The layout that all figures begin with; `more` goes on top of it."""
    base: dict[str, Any] = {
        "height": height,
        "margin": {"l": 44, "r": 8, "t": 8, "b": 34},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "font": {"family": FONT, "size": 12, "color": INK},
        "showlegend": False,
        "hoverlabel": {"align": "left", "font": {"family": FONT, "size": 12}},
        "uirevision": "same",
        "dragmode": "zoom",
    }
    return base | more


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """A quiet axis."""
    base: dict[str, Any] = {
        "title": {"text": title, "standoff": 6, "font": {"size": 12, "color": GREY}},
        "gridcolor": FAINT,
        "zeroline": False,
        "linecolor": FAINT,
        "tickfont": {"size": 11, "color": GREY},
        "automargin": False,
    }
    return base | more


def plain(text: str) -> str:
    """A name that Plotly shows as it is: it takes markup for markup otherwise."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def rounded(values: Any, digits: int = 4) -> list[Any]:
    """Numbers of an array with so many significant digits, as lists."""
    if getattr(values, "ndim", 1) > 1:
        return [rounded(row, digits) for row in values]
    return [float(f"{value:.{digits}g}") for value in values]


def of_policy(policy: str, trace: dict[str, Any]) -> dict[str, Any]:
    """A trace that the switch of a policy shows and hides; its name is shown as it is."""
    return {"name": plain(policy), "meta": {"policy": policy}} | trace


def by_place(names: Sequence[str], kinds: Sequence[str]) -> dict[str, str]:
    """One of some kinds for each name, in turn."""
    return {name: kinds[place % len(kinds)] for place, name in enumerate(names)}
