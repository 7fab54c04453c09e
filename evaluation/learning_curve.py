"""The learning curve of the trained runs in a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.ticker import FuncFormatter

from evaluation import style
from evaluation.comparison import Comparison

FILE = "evaluations.csv"
"""What a run's directory holds: a row for each evaluation during training, with its timesteps and reward."""


def learning_curve(comparison: Comparison, path: Path) -> str | None:
    """Draw reward over training of each run; None where no run brought a file of evaluations."""
    curves = list(_curves(comparison))
    if not curves:
        return None
    figure, axes = style.new_plot(f"Learning curve · {comparison.scenario.name}")
    color = style.colors([result.name for result in comparison.results])
    for index, (name, frame) in enumerate(curves):
        first = name not in [earlier for earlier, _ in curves[:index]]
        look: dict[str, Any] = {"color": color[name], "ms": 3.5, "lw": 1.8, "zorder": 3}
        axes.plot(frame["timesteps"], frame["reward"], "-o", label=name if first else None, **look)
    levels = {r.name: r.estimates["reward"].mean for r in comparison.results if not r.contender.run_dirs}
    reached = [float(reward) for _, frame in curves for reward in frame["reward"]]
    # Penalties dwarf all else: what earns less than nothing is named below the picture.
    below = {name: reward for name, reward in levels.items() if reward < 0.0 < max(reached)}
    for name in [name for name in levels if name not in below]:
        axes.axhline(levels[name], color=color[name], lw=1.5, ls=(0, (4, 2)), label=name, zorder=2)
    axes.set_ylim(*_limits([*reached, *(reward for name, reward in levels.items() if name not in below)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _steps(value)))
    axes.set_xlabel("environment steps of training")
    axes.set_ylabel("reward on validation episodes")
    axes.grid()
    figure.legend(loc="outside right upper")
    style.save(figure, path)
    names = ", ".join(f"{name} ({reward:.1f})" for name, reward in below.items())
    return (
        "Reward on validation episodes while training went on; dashed lines are what the baselines reach here."
        f"{f' Below the picture: {names}.' if names else ''}"
    )


def _limits(rewards: Sequence[float]) -> tuple[float, float]:
    """Ends of the reward axis; what is below 0 is cut off where others are above."""
    high = max(rewards)
    low = max(min(rewards), 0.0) if high > 0 else min(rewards)
    margin = 0.06 * (high - low) or 0.1
    return low - margin, high + margin


def _curves(comparison: Comparison) -> Iterator[tuple[str, pl.DataFrame]]:
    for result in comparison.results:
        for run_dir in result.contender.run_dirs:
            file = run_dir / FILE
            if not file.is_file() or not file.stat().st_size:
                continue
            frame = pl.read_csv(file, infer_schema_length=None)
            if frame.height and {"timesteps", "reward"} <= set(frame.columns):
                yield result.name, frame.sort("timesteps")


def _steps(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if abs(value) >= 1e3 else f"{value:g}"
