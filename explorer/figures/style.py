"""How figures look: colours that colour-blind readers tell apart (Okabe and Ito), quiet axes, short numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

Figure = dict[str, Any]
"""`data` and `layout`, as Plotly takes them."""
INK, GREY, FAINT, PAPER = "#1f2933", "#5a6672", "#e4e8ec", "#ffffff"
COLOURS: Final = "#0072B2", "#B84F00", "#007A5A"
"""Of the first policy, the second, and whoever takes over."""
PALE: Final = "#9ccbe8", "#f3b48e", "#8fd3bd"
"""The same for what a device computes, beside what it sends."""
NAMED: Final = 12
"""Up to so many devices are labelled one by one."""
FONT: Final = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans CJK SC', 'Noto Sans', sans-serif"


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


def device_axis(names: Sequence[str], title: str) -> dict[str, Any]:
    """An axis with one place a device."""
    count = len(names)
    ticks = list(range(count)) if count <= NAMED else list(range(0, count, max(1, count // 16)))
    return axis(title, tickvals=ticks, ticktext=[str(tick) for tick in ticks], range=[-0.6, count - 0.4])


def plain(text: str) -> str:
    """A name that Plotly shows as it is: it takes markup for markup otherwise."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def rounded(values: Any, digits: int = 4) -> list[Any]:
    """Numbers of an array with so many significant digits, as lists."""
    if getattr(values, "ndim", 1) > 1:
        return [rounded(row, digits) for row in values]
    return [float(f"{value:.{digits}g}") for value in values]
