"""Learning curves: of a comparison's trained runs, or of runs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.comparison import Comparison
from evaluation.report import style
from evaluation.report.interactive.look import DASHES, Figure, Texts, axis, by_place, layout, of_policy, plain, rounded
from evaluation.report.learning_curve import Curves, curves_of_runs, limits, read_curves


def learning(comparison: Comparison, texts: Texts) -> Figure | None:
    """Reward over training, and what the baselines reach; None where no run brought a file of evaluations."""
    found = {result.name: curves for result in comparison.results if (curves := read_curves(result)) is not None}
    if not found:
        return None
    levels = {r.name: r.estimates["reward"].mean for r in comparison.results if not r.contender.trained}
    return _figure(found, levels, [result.name for result in comparison.results], texts)


def curves(run_dirs: Sequence[Path], texts: Texts) -> Figure:
    """Reward over training of runs, a line each; a folder of seed-* runs is a set with a band.

    Raises:
        ValueError: no run has a file of evaluations.
    """
    found: dict[str, Curves] = {}
    for folder in run_dirs:
        own = curves_of_runs(sorted(folder.glob("seed-*/")) or [folder])
        if own is not None:
            found[folder.name] = own
    if not found:
        raise ValueError("no evaluations yet: training writes them as it goes on")
    return _figure(found, {}, list(found), texts)


def _figure(found: Mapping[str, Curves], levels: Mapping[str, float], names: Sequence[str], texts: Texts) -> Figure:
    color, dash = style.colors(names), by_place(names, DASHES)
    data: list[dict[str, Any]] = []
    for name, own in found.items():
        steps = rounded(own.timesteps, 8)
        hover = f"<b>{plain(name)}</b><br>%{{x:,}}: %{{y:.4g}}<extra></extra>"
        mean = {"type": "scatter", "mode": "lines+markers", "x": steps, "y": rounded(own.reward.mean(axis=0))}
        line = {"color": color[name], "width": 2}
        data.append(of_policy(name, mean | {"line": line, "marker": {"size": 5}, "hovertemplate": hover}))
        for run in own.reward if len(own.reward) > 1 else ():
            thin = {"type": "scatter", "mode": "lines", "x": steps, "y": rounded(run), "hoverinfo": "skip"}
            data.append(of_policy(name, thin | {"line": {"color": color[name], "width": 0.8}, "opacity": 0.45}))
    reached = [float(value) for own in found.values() for value in own.reward.ravel()]
    ends = [min(own.timesteps[0] for own in found.values()), max(own.timesteps[-1] for own in found.values())]
    above = {name: level for name, level in levels.items() if not level < 0.0 < max(reached)}
    for name, level in above.items():
        flat = {"type": "scatter", "mode": "lines", "x": rounded(ends, 8), "y": [level, level]}
        hover = f"{plain(name)}: %{{y:.4g}}<extra></extra>"
        line = {"color": color[name], "dash": "dash" if dash[name] == "solid" else dash[name], "width": 1.5}
        data.append(of_policy(name, flat | {"line": line, "hovertemplate": hover}))
    axes = {
        "xaxis": axis(texts["axis_training"]),
        "yaxis": axis(texts["axis_validation"], range=list(limits([*reached, *above.values()]))),
    }
    return {"data": data, "layout": layout(380, **axes)}
