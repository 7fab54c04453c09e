"""The learning curve of the trained runs in a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
    labelled = set()
    for name, frame in curves:
        label = None if name in labelled else name
        labelled.add(name)
        axes.plot(frame["timesteps"], frame["reward"], "-o", ms=3.5, lw=1.8, color=color[name], label=label, zorder=3)
    for result in comparison.results:
        if not result.contender.run_dirs:
            reward = result.estimates["reward"].mean
            axes.axhline(reward, color=color[result.name], lw=1.5, ls=(0, (4, 2)), label=result.name, zorder=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _steps(value)))
    axes.set_xlabel("environment steps of training")
    axes.set_ylabel("reward on validation episodes")
    axes.grid()
    figure.legend(loc="outside right upper")
    style.save(figure, path)
    return "Reward on validation episodes while training went on; dashed lines are what the baselines reach here."


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
