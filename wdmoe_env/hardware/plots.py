"""Plots of fits and expert times; needs matplotlib, which loads only here."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wdmoe_env.files.atomic import write_bytes
from wdmoe_env.hardware.boards.catalogue import Roofline
from wdmoe_env.hardware.boards.expert import MIXTRAL_HIDDEN, MIXTRAL_INTERMEDIATE, expert_seconds
from wdmoe_env.hardware.latency.fit import RooflineFit
from wdmoe_env.hardware.latency.measurement import Measurement


def plot_fits(
    path: Path, fits: Mapping[tuple[str, str], RooflineFit], rows: Mapping[tuple[str, str], Sequence[Measurement]]
) -> None:
    """Draw fitted over measured latency, one colour a board and power mode, to an image file."""
    figure, axes = _figure()
    low, high = np.inf, 0.0
    for key, fit in fits.items():
        measured = np.array([row.latency_s for row in rows[key]]) * 1e3
        axes.scatter(measured, fit.predict(rows[key]) * 1e3, s=12, alpha=0.6, label=" ".join(key).replace("$", r"\$"))
        low, high = min(low, measured.min()), max(high, measured.max())
    axes.plot([low, high], [low, high], color="0.3", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="measured latency, ms", ylabel="fitted latency, ms")
    _finish(figure, axes)
    _save(figure, path)


def plot_experts(path: Path, entries: Sequence[tuple[str, str, Roofline]], weight_bits: float = 16.0) -> None:
    """Draw the time of a Mixtral expert over its tokens for each board and power mode, to an image file."""
    figure, axes = _figure()
    tokens = np.unique(np.geomspace(1, 512, 40).round())
    styles = ["-", "--", ":", "-."]
    boards = list(dict.fromkeys(name for name, _, _ in entries))
    modes = {name: [mode for other, mode, _ in entries if other == name] for name in boards}
    for name, mode, entry in entries:
        seconds = expert_seconds(entry, tokens, MIXTRAL_HIDDEN, MIXTRAL_INTERMEDIATE, weight_bits)
        label = f"{name} {mode}" + ("" if entry.measured else " (assumed)")
        style = styles[modes[name].index(mode) % len(styles)]
        axes.plot(tokens, 1e3 * seconds, style, color=f"C{boards.index(name)}", label=label)
    axes.set(xscale="log", yscale="log", xlabel="tokens", ylabel=f"Mixtral expert, {weight_bits:g} bit, ms")
    _finish(figure, axes)
    axes.set_xticks([1, 8, 64, 256, 512])
    axes.minorticks_off()
    _save(figure, path)


def _finish(figure: Any, axes: Any) -> None:
    """Plain numbers on the axes, a grid, and the legend beside the plot."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())
        axis.get_major_formatter().set_scientific(False)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    figure.legend(fontsize=7, loc="outside right upper")


def _save(figure: Any, path: Path) -> None:
    """Write an image file of the kind that its name ends in, PNG where it ends in none."""
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.removeprefix(".") or "png", dpi=150)
    write_bytes(path, picture.getvalue())


def _figure() -> tuple[Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib, which is not installed: pip install matplotlib") from None
    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()
