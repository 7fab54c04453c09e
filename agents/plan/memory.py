"""What training keeps in memory, told before it is asked for: one line in a file may ask for terabytes."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Final

from agents.plan.hyperparameters import Algorithm
from agents.plan.prices import price_action, priced_observation
from wdmoe_env.scenario import Scenario

MAX_BYTES: Final = 16e9
FLOAT: Final = 4
"""Bytes of a single-precision number, of which everything below is made."""
SCALARS: Final = 5
"""Numbers that are kept of a step beside observations and actions: reward, ends, value, advantage and the like."""
LAYERS: Final = 8
"""Values that a network's forward pass keeps for each unit of its width and each row of the table, at least."""


def check_memory(algorithm: Algorithm, scenario: Scenario, settings: Mapping[str, Any], num_envs: int) -> None:
    """Refuse hyperparameters whose stored steps, or whose batch, would take more than 16 GB.

    Raises:
        ValueError: names the hyperparameter.
    """
    stored = "rollout" if algorithm == "ppo" else "buffer_size"
    steps = max(settings[stored] // num_envs, 1) * num_envs
    rows, columns = priced_observation(scenario).space.shape or ()
    observation, action = rows * columns, prod(price_action(scenario).space.shape or ())
    # SAC keeps the observation after each step, too.
    of_a_step = observation * (1 if algorithm == "ppo" else 2) + action + SCALARS
    batch = min(settings["batch_size"], steps)
    of_a_sample = observation + LAYERS * rows * settings["width"]
    for name, count, numbers in ((stored, steps, of_a_step), ("batch_size", batch, of_a_sample)):
        if (size := FLOAT * count * numbers) > MAX_BYTES:
            raise ValueError(
                f"hyperparameter {name} is {settings[name]}: {count:,} samples of {rows} {scenario.prices}s need "
                f"{size / 1e9:.1f} GB, expected at most {MAX_BYTES / 1e9:g} GB"
            )
