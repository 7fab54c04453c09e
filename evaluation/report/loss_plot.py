"""What faster decisions cost the model that reads: bits per byte against latency."""

from __future__ import annotations

from pathlib import Path

from matplotlib.ticker import FuncFormatter

from evaluation.comparison import Comparison
from evaluation.report import style
from evaluation.report.trade_off_plot import near


def loss(comparison: Comparison, path: Path) -> str | None:
    """Draw how many more bits per byte a policy takes than plain top-K, against its latency; None if no model reads."""
    if comparison.reading is None:
        return None
    figure, axes = style.new_plot(f"Latency against what the model loses · {comparison.scenario.name}")
    color = style.colors([result.name for result in comparison.results])
    shown = near(comparison.results)
    for result in shown:
        across, up = result.estimates["latency_ms"], result.estimates["bits_vs_top_k"]
        axes.errorbar(
            across.mean, up.mean - 1.0,
            xerr=[[across.mean - across.low], [across.high - across.mean]],
            yerr=[[up.mean - up.low], [up.high - up.mean]],
            fmt="o", ms=8, color=color[result.name], capsize=3, lw=1.3, label=result.name,
        )  # fmt: skip
    axes.axhline(0.0, color=style.MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
    style.separated(axes.xaxis)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.3g} %"))
    axes.set_xlabel("latency of a forward pass (ms), less is better")
    axes.set_ylabel("bits per byte against top-k, less is better")
    axes.grid()
    figure.legend(loc="outside right upper")
    style.save(figure, path)
    far = [result.name for result in comparison.results if result not in shown]
    outside = f" Outside of the picture, as they take much longer: {', '.join(far)}." if far else ""
    return (
        "Latency against the loss of the real model: how many more bits it takes to predict a byte of text than with "
        f"plain top-K, in the same streams; means with 95 % intervals.{outside}"
    )
