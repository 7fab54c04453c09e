"""WDMoEEnv: the Gymnasium environment, a simulator with a batch of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from wdmoe_env.envs import infos
from wdmoe_env.envs.actions import as_array
from wdmoe_env.envs.clipping import ClippedActions
from wdmoe_env.envs.codecs import ActionEncoding, ObservationEncoding, action_codec, observation_codec
from wdmoe_env.envs.ids import check_length
from wdmoe_env.envs.pictures import FPS, Pictures
from wdmoe_env.gating.bank import Split
from wdmoe_env.scenario import Scenario, load_scenario
from wdmoe_env.simulator.simulator import Simulator

RENDER_MODES = ("rgb_array", "human")


class WDMoEEnv(gym.Env[Any, Any]):
    """One cell; a step decides one layer, an episode is the scenario's number of forward passes.

    Args:
        scenario: a preset's name, the path of a YAML file, or a Scenario.
        action: `native`, `token`, `price` or `expert-price`; see `wdmoe_env.envs.codecs`.
        observation: `dict`, `flat`, `device`, `expert`, or the two tables as vectors, `device-flat` and `expert-flat`.
        split: `train`, `validation` or `test`, which bank of gate weights to draw passes from.
        overrides: scenario settings to replace, merged deeply.
        render_mode: None, `rgb_array` or `human`.
        strict: refuse actions outside of their box, which otherwise are clipped into it with one warning.

    >>> env = gym.make("WDMoE-v0", scenario="paper", action="price", observation="device")
    >>> observation, info = env.reset(seed=0)
    >>> observation.shape, env.action_space.shape
    ((8, 39), (8,))
    """

    metadata = {  # noqa: RUF012 - Gymnasium declares it an instance attribute
        "render_modes": list(RENDER_MODES),
        "render_fps": FPS,
    }

    def __init__(
        self,
        scenario: str | Path | Scenario = "paper",
        action: ActionEncoding = "price",
        observation: ObservationEncoding = "device-flat",
        split: Split = "train",
        overrides: dict[str, Any] | None = None,
        render_mode: str | None = None,
        strict: bool = False,
    ) -> None:
        self.scenario = load_scenario(scenario, **(overrides or {}))
        self.simulator = Simulator(self.scenario, 1, split)
        self._pictures, self.render_mode = Pictures(self.simulator, render_mode, RENDER_MODES), render_mode
        self._actions = ClippedActions(action_codec(action, self.scenario), strict)
        self._observations = observation_codec(observation, self.scenario)
        self.action_space, self.observation_space = self._actions.space, self._observations.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode. A seed fully determines it and all that follow until the next seed.

        Raises:
            ValueError: the id that made this ends episodes before the scenario does.
        """
        super().reset(seed=seed)
        check_length(self.spec, self.scenario)
        observation = self._first(self._observations.encode(self.simulator.reset(seed)))
        self._pictures.forget()
        if self.render_mode == "human":
            self.render()
        return observation, infos.only(infos.of_reset(1))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Decide one layer. The info holds `wdmoe_env.envs.infos.KEYS`."""
        decision = self._actions.decode(_batch_of_one(action), self.simulator.observation)
        self._pictures.before()
        outcome = self.simulator.step(decision)
        self._pictures.after(decision, outcome)
        if self.render_mode == "human":
            self.render()
        observation = self._first(self._observations.encode(outcome.observation))
        told = infos.only(infos.of_step(outcome.metrics))
        return observation, float(outcome.reward[0]), False, bool(outcome.truncated[0]), told

    def render(self) -> NDArray[np.uint8] | None:
        """Draw the last step, or the cell as it is before the first one.

        Returns:
            An (H, W, 3) uint8 array with `rgb_array`; None with `human`, which shows a window, and without a mode.

        Raises:
            RuntimeError: `reset` was not called yet.
            DependencyNotInstalled: matplotlib is missing.
        """
        if self.render_mode is None:
            gym.logger.warn("render() does nothing: make the environment with render_mode='rgb_array' or 'human'")
            return None
        return self._pictures.draw()[0]

    def close(self) -> None:
        """Close the window, if there is one."""
        self._pictures.close()

    @staticmethod
    def _first(batch: Any) -> Any:
        return {name: values[0] for name, values in batch.items()} if isinstance(batch, dict) else batch[0]


def _batch_of_one(action: Any) -> Any:
    if isinstance(action, dict):
        return {name: as_array(value, f"action[{name!r}]")[None] for name, value in action.items()}
    return as_array(action, "action")[None]
