"""How the page's figures look: colours that colour-blind readers tell apart (Okabe and Ito), an axis of devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from evaluation.report.interactive.look import FAINT, GREY, INK, Figure, axis, layout, plain, rounded

__all__ = ["COLOURS", "FAINT", "GREY", "INK", "PALE", "Figure", "axis", "device_axis", "layout", "plain", "rounded"]
COLOURS: Final = "#0072B2", "#B84F00", "#007A5A"
"""Of the first policy, the second, and whoever takes over."""
PALE: Final = "#9ccbe8", "#f3b48e", "#8fd3bd"
"""The same for what a device computes, beside what it sends."""
NAMED: Final = 12
"""Up to so many devices are labelled one by one."""


def device_axis(names: Sequence[str], title: str) -> dict[str, Any]:
    """An axis with one place a device."""
    count = len(names)
    ticks = list(range(count)) if count <= NAMED else list(range(0, count, max(1, count // 16)))
    return axis(title, tickvals=ticks, ticktext=[str(tick) for tick in ticks], range=[-0.6, count - 0.4])
