"""Plan: what one training run is asked to do, and how `config.json` keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from agents.scenarios import saved_scenario
from agents.settings import Algorithm, WarmStart
from agents.storage import StorageError
from agents.tracking import WandbMode
from wdmoe_env.scenario import Scenario

COUNTS = ("timesteps", "num_envs", "evaluate_every", "evaluate_episodes", "checkpoint_every")


@dataclass(frozen=True)
class Plan:
    """What one training run is asked to do.

    Attributes:
        algorithm: ppo or sac.
        scenario: where it learns.
        hyperparameters: all of them, resolved, see `agents.settings.hyperparameters`.
        timesteps: environment steps, all environments together.
        num_envs: cells side by side.
        seed: of the cells, the network's weights and the exploration.
        wandb: where to log.
        evaluate_every: steps between evaluations.
        evaluate_episodes: validation episodes in each.
        checkpoint_every: steps between checkpoints.
        warm_start: what the actor imitates before it learns: nothing, or the baseline `price`.

    Raises:
        ValueError: a count is below 1, the seed is out of range, or the warm start is unknown.
    """

    algorithm: Algorithm
    scenario: Scenario
    hyperparameters: Mapping[str, Any]
    timesteps: int
    num_envs: int
    seed: int
    wandb: WandbMode
    evaluate_every: int = 100_000
    evaluate_episodes: int = 32
    checkpoint_every: int = 250_000
    warm_start: WarmStart = "none"

    def __post_init__(self) -> None:
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name.replace('_', '-')} is {getattr(self, name)}, expected at least 1")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}, expected a number from 0 to {2**32 - 1}")
        if self.warm_start not in get_args(WarmStart):
            expected = ", ".join(get_args(WarmStart))
            raise ValueError(f"warm-start is {self.warm_start!r}, expected one of {expected}")

    def as_json(self) -> dict[str, Any]:
        """Fit for config.json."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**plain, "scenario": self.scenario.model_dump(mode="json"), "hyperparameters": {**self.hyperparameters}}


def plan_from(config: Mapping[str, Any], origin: Path) -> Plan:
    """Return the plan that `config` was written for.

    Raises:
        StorageError: something is missing or broken; names `origin`.
    """
    if lacking := [field.name for field in fields(Plan) if field.name not in config]:
        raise StorageError(f"{origin} lacks {lacking[0]!r}")
    values = {field.name: config[field.name] for field in fields(Plan)}
    values["scenario"] = saved_scenario(values["scenario"], str(origin))
    try:
        return Plan(**values)
    except (TypeError, ValueError) as error:
        raise StorageError(f"{origin} is broken: {error}") from error
