"""The learning curves of the trained runs in a comparison."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from evaluation.comparison import Comparison, Result
from evaluation.estimates.bootstrap import draw
from evaluation.estimates.statistics import FEW_RUNS
from evaluation.report import style
from wdmoe_env.arrays import FloatArray
from wdmoe_env.files.safe import StorageError, read_text

FILE = "evaluations.csv"
"""What a run's directory holds: a row for each evaluation during training, with its timesteps and reward."""
MAX_BYTES = 2**28
_MARKED = 20
"""More evaluations than this are not marked one by one."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Reward of R runs over G steps of training.

    Attributes:
        timesteps: (G,) steps at which at least one run was evaluated, within what all runs reached.
        reward: (R, G), straight lines between the evaluations of a run.
    """

    timesteps: FloatArray
    reward: FloatArray

    def band(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper end, (G,) each: of all runs where they are few, else of a 95 % bootstrap of their mean."""
        runs = len(self.reward)
        if runs < FEW_RUNS:
            return self.reward.min(axis=0), self.reward.max(axis=0)
        counts = draw(runs, np.zeros(1, dtype=np.int64)).runs
        low, high = np.percentile(counts @ self.reward / runs, [2.5, 97.5], axis=0)
        return low, high


def learning_curve(comparison: Comparison, path: Path) -> str | None:
    """Draw reward over training: the mean over runs with a band; None where no run brought a file of evaluations."""
    curves = {result.name: found for result in comparison.results if (found := read_curves(result)) is not None}
    if not curves:
        return None
    figure, axes = style.new_plot(f"Learning curve · {comparison.scenario.name}")
    color = style.colors([result.name for result in comparison.results])
    for name, found in curves.items():
        _draw(axes, found, name, color[name])
    levels = {r.name: r.estimates["reward"].mean for r in comparison.results if not r.contender.trained}
    reached = [float(reward) for found in curves.values() for reward in found.reward.ravel()]
    # Penalties dwarf all else: what earns less than nothing is named below the picture.
    below = {name: reward for name, reward in levels.items() if reward < 0.0 < max(reached)}
    for name in [name for name in levels if name not in below]:
        axes.axhline(levels[name], color=color[name], lw=1.5, ls=(0, (4, 2)), label=name, zorder=2)
    axes.set_ylim(*limits([*reached, *(reward for name, reward in levels.items() if name not in below)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _steps(value)))
    axes.set_xlabel("environment steps of training")
    axes.set_ylabel("reward on validation episodes")
    axes.grid()
    figure.legend(loc="outside right upper")
    style.save(figure, path)
    names = ", ".join(f"{name} ({reward:.1f})" for name, reward in below.items())
    return (
        f"Reward on validation episodes while training went on.{_explained(curves)} Dashed lines are what the "
        f"baselines reach in the held-out episodes.{f' Below the picture: {names}.' if names else ''}"
    )


def read_curves(result: Result) -> Curves | None:
    """As `curves_of_runs`, of a result's runs."""
    return curves_of_runs(result.contender.run_dirs)


def curves_of_runs(run_dirs: Sequence[Path]) -> Curves | None:
    """Curves of all runs on a common grid of steps; None where no run has one, or they have no steps in common."""
    frames = [frame for run_dir in run_dirs if (frame := _read(run_dir / FILE)) is not None]
    if not frames:
        return None
    steps = [frame["timesteps"].to_numpy() for frame in frames]
    grid = np.unique(np.concatenate(steps))
    grid = grid[(grid >= max(run[0] for run in steps)) & (grid <= min(run[-1] for run in steps))]
    if not grid.size:
        return None
    rewards = [np.interp(grid, run, frame["reward"].to_numpy()) for run, frame in zip(steps, frames, strict=True)]
    return Curves(grid, np.stack(rewards))


def _read(file: Path) -> pl.DataFrame | None:
    """Timesteps and rewards of a run; None where its file is missing or no such table: the rest of a report stands."""
    try:
        table = pl.read_csv(io.StringIO(read_text(file, MAX_BYTES)), infer_schema_length=None)
        frame = table.select(pl.col("timesteps", "reward").cast(pl.Float64)).drop_nulls()
    except (StorageError, pl.exceptions.PolarsError):
        return None
    return frame.sort("timesteps") if frame.height else None


def _draw(axes: Axes, found: Curves, name: str, color: str) -> None:
    look: dict[str, Any] = {"color": color, "ms": 3.5, "lw": 1.8, "zorder": 4, "label": name}
    marker = "o" if len(found.timesteps) <= _MARKED else ""
    axes.plot(found.timesteps, found.reward.mean(axis=0), marker=marker, **look)
    if len(found.reward) > 1:
        axes.fill_between(found.timesteps, *found.band(), color=color, alpha=0.2, linewidth=0, zorder=2)
        axes.plot(found.timesteps, found.reward.T, color=color, alpha=0.35, lw=0.8, zorder=3)


def _explained(curves: dict[str, Curves]) -> str:
    """What thick lines, thin lines and bands are, for the sets of runs."""
    sets = {name: len(found.reward) for name, found in curves.items() if len(found.reward) > 1}
    if not sets:
        return ""
    bands = [
        f"{name}, {runs} runs, {'from the least to the most' if runs < FEW_RUNS else '95 % bootstrap of the mean'}"
        for name, runs in sets.items()
    ]
    return f" Thick lines are means over runs, thin ones single runs. Bands: {'; '.join(bands)}."


def limits(rewards: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis of rewards; what is below 0 is cut off where others are above."""
    high = max(rewards)
    low = max(min(rewards), 0.0) if high > 0 else min(rewards)
    margin = 0.06 * (high - low) or 0.1
    return low - margin, high + margin


def _steps(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if abs(value) >= 1e3 else f"{value:g}"
