"""WDMoEVectorEnv: N cells as a native Gymnasium vector environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from wdmoe_env.envs.codecs import ActionEncoding, ObservationEncoding, action_codec, observation_codec
from wdmoe_env.gating.bank import Split
from wdmoe_env.interface import Outcome
from wdmoe_env.scenario import Scenario, load_scenario
from wdmoe_env.simulator.simulator import Simulator


class WDMoEVectorEnv(VectorEnv[Any, Any, Any]):
    """N cells in one simulator, with same-step autoreset: all episodes have the same length and end together.

    On the step that ends them, the observation returned is the first of the next episodes; the last one is in
    `infos["final_obs"]`, and what `step` told of it in `infos["final_info"]`. The arguments are those of `WDMoEEnv`.
    """

    metadata = {  # noqa: RUF012 - Gymnasium declares it an instance attribute
        "render_modes": [],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str | Path | Scenario = "paper",
        action: ActionEncoding = "price",
        observation: ObservationEncoding = "device",
        split: Split = "train",
        overrides: dict[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None:
            raise ValueError(f"render_mode is {render_mode!r}, expected None: render a single environment instead")
        self.num_envs, self.render_mode = num_envs, None
        self.scenario = load_scenario(scenario, **(overrides or {}))
        self.simulator = Simulator(self.scenario, num_envs, split)
        self._actions = action_codec(action, self.scenario)
        self._observations = observation_codec(observation, self.scenario)
        self.single_action_space, self.single_observation_space = self._actions.space, self._observations.space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start all episodes. One seed determines the whole batch: a list with a seed for each is refused."""
        if seed is not None and not isinstance(seed, (int, np.integer)):
            raise ValueError(f"seed is {seed!r:.80}, expected one integer for the whole batch")
        return self._observations.encode(self.simulator.reset(None if seed is None else int(seed))), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Decide one layer in every cell. `infos["metrics"]` holds (N,) arrays, see `metrics.SCHEMA`."""
        outcome = self.simulator.step(self._actions.decode(actions, self.simulator.observation))
        observation = self._observations.encode(outcome.observation)
        infos = self._infos(outcome)
        if outcome.truncated.all():
            infos |= {"final_obs": observation, "_final_obs": outcome.truncated.copy()}
            infos |= {"final_info": self._infos(outcome), "_final_info": outcome.truncated.copy()}
            observation = self._observations.encode(self.simulator.reset())
        terminated = np.zeros(self.num_envs, dtype=bool)
        return observation, outcome.reward, terminated, outcome.truncated, infos

    def _infos(self, outcome: Outcome) -> dict[str, Any]:
        return {"metrics": dict(outcome.metrics), "_metrics": np.ones(self.num_envs, dtype=bool)}
