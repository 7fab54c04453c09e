"""Ids: what `gymnasium.make` knows the environment by, one for each preset beside `WDMoE-v0`.

In `WDMoE-paper-v0`, `WDMoE-cell-64-v0` and `WDMoE-tiny-moe-v0` decisions change no later state: train with a
discount of 0.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from wdmoe_env.scenario import Scenario

ENTRY_POINTS: Final[dict[str, Any]] = {
    "entry_point": "wdmoe_env.envs.env:WDMoEEnv",
    "vector_entry_point": "wdmoe_env.envs.vector_env:WDMoEVectorEnv",
}
PRICED: Final = {
    "device": {"action": "price", "observation": "device-flat"},
    "expert": {"action": "expert-price", "observation": "expert-flat"},
}
"""Encodings by a scenario's `prices`."""


class Preset(NamedTuple):
    """What Gymnasium is told of a preset without reading it.

    Attributes:
        steps: of an episode.
        threshold: `reward_threshold`, a return of 98 % of the baseline `price`'s over 200 held-out episodes.
        prices: the scenario's.
    """

    steps: int
    threshold: float
    prices: str = "device"


PRESETS: Final = {
    "cell-64": Preset(16, 80.5),
    "decode": Preset(256, 378.0),
    "jetson": Preset(128, 226.0),
    "jetson-wifi": Preset(128, 205.0),
    "many-experts": Preset(128, 232.0, "expert"),
    "mobile": Preset(128, 271.0),
    "paper": Preset(32, 56.9),
    "tiny-moe": Preset(32, 78.8),
}


def id_of(preset: str) -> str:
    """The id of a preset: `WDMoE-paper-v0`."""
    return f"WDMoE-{preset}-v0"


def register_ids() -> None:
    """Tell Gymnasium of all ids."""
    gym.register(id="WDMoE-v0", **ENTRY_POINTS)
    for name, preset in PRESETS.items():
        kwargs: dict[str, Any] = {"scenario": name, **PRICED[preset.prices]}
        gym.register(
            id=id_of(name),
            max_episode_steps=preset.steps,
            reward_threshold=preset.threshold,
            kwargs=kwargs,
            **ENTRY_POINTS,
        )


def check_length(spec: EnvSpec | None, scenario: Scenario) -> None:
    """Refuse a preset's id with a scenario whose episodes it would cut short.

    Raises:
        ValueError: the id's `max_episode_steps` are fewer than the scenario's.
    """
    registered = None if spec is None else gym.registry.get(spec.id)
    limit = None if registered is None else registered.max_episode_steps
    if spec is not None and limit is not None and limit < scenario.steps_per_episode:
        raise ValueError(
            f"{spec.id} ends episodes after {limit} steps, those of scenario {scenario.name!r} as it is now have "
            f"{scenario.steps_per_episode}: make WDMoE-v0 with this scenario"
        )
