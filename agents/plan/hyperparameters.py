"""Hyperparameters per algorithm and scenario, from YAML."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any, Final, Literal, get_args

from wdmoe_env.files.yaml import read_yaml

Algorithm = Literal["ppo", "sac"]
FOLDER = Path(__file__).parents[1] / "hyperparameters"
RANGES: Final[dict[str, tuple[float, float]]] = {
    "width": (1, 4096),
    "learning_rate": (0, 1),
    "learning_rate_end": (0, 1),
    "rollout": (2, 10_000_000),
    "batch_size": (2, 1_000_000),
    "n_epochs": (1, 1_000),
    "gamma": (0, 1),
    "gae_lambda": (0, 1),
    "clip_range": (0, inf),
    "ent_coef": (0, inf),
    "vf_coef": (0, inf),
    "max_grad_norm": (0, inf),
    "log_std_init": (-20, 2),
    "greedy_baseline": (0, 1),
    "buffer_size": (1, 100_000_000),
    "learning_starts": (0, 10**15),
    "tau": (0, 1),
    "gradient_steps": (1, 10_000),
}
"""Least and greatest value of a hyperparameter, both allowed; `agents.plan.memory` limits what some need together."""


WarmStart = Literal["none", "price"]


def hyperparameters(
    algorithm: Algorithm, scenario_name: str, warm_start: WarmStart = "none", **overrides: Any
) -> dict[str, Any]:
    """Defaults of the algorithm, then the scenario's own, those for a warm start if there is one, then `overrides`.

    Raises:
        ValueError: the algorithm or a key is unknown, a value is of the wrong type or out of range, or two do not fit.
    """
    if algorithm not in get_args(Algorithm):
        raise ValueError(f"algo is {algorithm!r}, expected one of {', '.join(get_args(Algorithm))}")
    table = read_yaml(FOLDER / f"{algorithm}.yaml")
    known = table["default"]
    warm = {} if warm_start == "none" else table["warm_start"]
    settings = {**known, **table.get(scenario_name, {}), **warm, **overrides}
    if unknown := sorted(set(settings) - set(known)):
        raise ValueError(f"unknown hyperparameter {unknown[0]!r} of {algorithm}, expected one of {', '.join(known)}")
    for name, value in settings.items():
        _check(name, value, known[name])
    if settings.get("greedy_baseline") and settings["gamma"] > 0:
        # What can be had greedily in a state that was reached depends on the actions before it: no baseline.
        raise ValueError(f"greedy_baseline is 1 and gamma is {settings['gamma']}, expected 0 for one of them")
    return settings


def _check(name: str, value: Any, default: Any) -> None:
    if isinstance(default, str) and isinstance(value, str):
        return
    low, high = RANGES.get(name, (-inf, inf))
    whole = isinstance(default, int)
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    # Written so that NaN fails it too.
    if not (fits and low <= value <= high and abs(value) < inf):
        kind = "a whole number" if whole else "a number"
        limits = f"from {low:g} to {high:,.16g}" if high < inf else f"of at least {low:g}"
        raise ValueError(f"hyperparameter {name} is {value!r:.60}, expected {kind} {limits}")
