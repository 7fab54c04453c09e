"""How plots look: one colour for a policy in all of them, from a palette that colour-blind readers can tell apart."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from wdmoe_env.files.atomic import write_bytes

DPI = 130
INK = "#24292f"
MUTED = "#6e7781"

_KNOWN: Final = {
    "top-k": "#7f7f7f",
    "top-k+bandwidth": "#56B4E9",
    "wdmoe": "#E69F00",
    "wdmoe-reconstructed": "#C9A227",
    "wdmoe-testbed": "#8C5A00",
    "dynamic-skipping": "#009E73",
    "constant-price": "#117733",
    "price": "#CC79A7",
    "random": "#BDBDBD",
}
_FREE: Final = ("#D55E00", "#0072B2", "#000000", "#882255", "#44AA99", "#999933", "#332288", "#AA4499")
_DASHES: Final[tuple[Any, ...]] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))

_RC: Final[dict[str, Any]] = {
    "figure.facecolor": "white",
    "axes.edgecolor": "#afb8c1",
    "axes.labelcolor": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.labelsize": 10.5,
    "grid.color": "#e4e8ec",
    "text.color": INK,
    # A dollar sign in a name is no formula.
    "text.parse_math": False,
    "xtick.color": "#57606a",
    "ytick.color": "#57606a",
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}


def colors(names: Sequence[str]) -> dict[str, str]:
    """A colour for each policy: baselines always have the same one, others take the free ones in order.

    >>> colors(["mine", "top-k"])
    {'mine': '#D55E00', 'top-k': '#7f7f7f'}
    """
    others = [name for name in names if name not in _KNOWN]
    free = {name: _FREE[index % len(_FREE)] for index, name in enumerate(others)}
    return {name: _KNOWN.get(name) or free[name] for name in names}


def dashes(names: Sequence[str]) -> dict[str, Any]:
    """A line style for each policy, so that lines can be told apart without colour too."""
    return {name: _DASHES[index % len(_DASHES)] for index, name in enumerate(names)}


@contextmanager
def applied() -> Iterator[None]:
    """Draw in this style; settings outside of the block stay as they are."""
    with mpl.rc_context(_RC):  # type: ignore[arg-type]  # the names above are checked when they are set
        yield


def new_plot(title: str, width: float = 7.6, height: float = 4.2) -> tuple[Figure, Axes]:
    """A figure with one set of axes; made without pyplot, so that no global state is touched."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    write_bytes(path, picture.getvalue())


def separated(axis: Axis) -> None:
    """Write an axis' numbers with thousands separators."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
