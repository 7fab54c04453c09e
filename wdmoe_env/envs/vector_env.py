"""WDMoEVectorEnv: N cells as a native Gymnasium vector environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate
from numpy.typing import NDArray

from wdmoe_env.arrays import BoolArray
from wdmoe_env.envs import infos
from wdmoe_env.envs.clipping import ClippedActions
from wdmoe_env.envs.codecs import ActionEncoding, ObservationEncoding, action_codec, observation_codec
from wdmoe_env.envs.ids import check_length
from wdmoe_env.envs.pictures import FPS, Pictures
from wdmoe_env.gating.bank import Split
from wdmoe_env.interface import Outcome
from wdmoe_env.scenario import Scenario, load_scenario
from wdmoe_env.simulator.simulator import Simulator

RENDER_MODES = ("rgb_array",)
Step = tuple[Any, NDArray[np.float64], BoolArray, BoolArray, dict[str, Any]]


class WDMoEVectorEnv(VectorEnv[Any, Any, Any]):
    """N cells in one simulator: all episodes have the same length, and end together.

    Args:
        num_envs: N.
        autoreset_mode: what happens after the step that ends the episodes, as in Gymnasium's own vector environments.
            `NEXT_STEP`: the next step ignores its actions and returns the first observations, with rewards of 0.
            `SAME_STEP`: the step itself returns the first observations of the next episodes; the last ones are in
            `infos["final_obs"]`, what it told in `infos["final_info"]`. `DISABLED`: nothing, the caller resets.
        max_episode_steps: end episodes after so many steps, if the scenario does not end them before.
        render_mode: None or `rgb_array`, a picture of each cell.
        scenario, action, observation, split, overrides, strict: those of `WDMoEEnv`.

    Attributes:
        autoreset_mode: as given; `metadata` tells it too.
    """

    metadata = {  # noqa: RUF012 - Gymnasium declares it an instance attribute
        "render_modes": list(RENDER_MODES),
        "render_fps": FPS,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str | Path | Scenario = "paper",
        action: ActionEncoding = "price",
        observation: ObservationEncoding = "device-flat",
        split: Split = "train",
        overrides: dict[str, Any] | None = None,
        render_mode: str | None = None,
        strict: bool = False,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
    ) -> None:
        self.num_envs, self.autoreset_mode = num_envs, _mode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.scenario = load_scenario(scenario, **(overrides or {}))
        self.simulator = Simulator(self.scenario, num_envs, split)
        self._steps = min(self.scenario.steps_per_episode, max_episode_steps or self.scenario.steps_per_episode)
        self._pictures, self.render_mode = Pictures(self.simulator, render_mode, RENDER_MODES), render_mode
        self._actions = ClippedActions(action_codec(action, self.scenario), strict)
        self._observations = observation_codec(observation, self.scenario)
        self.single_action_space, self.single_observation_space = self._actions.space, self._observations.space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._ended = False

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start all episodes. One seed determines the whole batch.

        Raises:
            ValueError: `seed` is a list with one for each environment, or `options["reset_mask"]` leaves some out: the
                cells share one generator, and all episodes begin together.
        """
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer))):
            raise ValueError(f"seed is {seed!r:.80}, expected one integer for the whole batch")
        _check_mask((options or {}).get("reset_mask"), self.num_envs)
        check_length(self.spec, self.scenario)
        seed = None if seed is None else int(seed)
        super().reset(seed=seed)
        return self._start(seed), infos.masked(infos.of_reset(self.num_envs))

    def step(self, actions: Any) -> Step:
        """Decide one layer in every cell. `infos` holds an (N,) array for each of `wdmoe_env.envs.infos.KEYS`.

        Raises:
            RuntimeError: the episodes are over, and autoreset is disabled.
        """
        if self._ended and self.autoreset_mode is AutoresetMode.NEXT_STEP:
            return self._step_of_reset()
        if self._ended:
            raise RuntimeError("all episodes are over, and autoreset_mode is DISABLED: call reset() before step()")
        decision = self._actions.decode(actions, self.simulator.observation)
        self._pictures.before()
        outcome = self.simulator.step(decision)
        self._pictures.after(decision, outcome)
        observation, told = self._observations.encode(outcome.observation), self._told(outcome)
        self._ended = self.simulator.steps >= self._steps
        truncated = np.full(self.num_envs, self._ended)
        if self._ended and self.autoreset_mode is AutoresetMode.SAME_STEP:
            last = _rows(self.observation_space, observation, self.num_envs)
            told |= {"final_obs": last, "_final_obs": truncated.copy()}
            told |= {"final_info": self._told(outcome), "_final_info": truncated.copy()}
            observation = self._start()
        return observation, outcome.reward, np.zeros(self.num_envs, dtype=bool), truncated, told

    def render(self) -> tuple[NDArray[Any], ...] | None:
        """Draw the last step of every cell, or the cells as they are before the first one.

        Returns:
            N arrays, (H, W, 3) uint8; None without a mode.

        Raises:
            RuntimeError: `reset` was not called yet.
            DependencyNotInstalled: matplotlib is missing.
        """
        if self.render_mode is None:
            gym.logger.warn("render() does nothing: make the environment with render_mode='rgb_array'")
            return None
        return tuple(frame for frame in self._pictures.draw() if frame is not None)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """What each environment has under a name, as Gymnasium's own vector environments tell it: N values.

        Raises:
            AttributeError: there is none of that name, or it is a function other than `render`: all cells share one
                simulator, and cannot be called one by one.
        """
        if name == "render":
            return self.render() or (None,) * self.num_envs
        value = getattr(self, name)
        if callable(value) or args or kwargs:
            raise AttributeError(f"{name!r} cannot be called on single cells: they share one simulator")
        return (value,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """The attribute of each environment: N times the same."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Nothing can be set: the cells of a batch share one simulator.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(f"{name!r} cannot be set: the cells of a batch share one simulator")

    def close_extras(self, **kwargs: Any) -> None:
        """Let go of what was drawn."""
        self._pictures.close()

    def _start(self, seed: int | None = None) -> Any:
        self._ended = False
        self._pictures.forget()
        return self._observations.encode(self.simulator.reset(seed))

    def _step_of_reset(self) -> Step:
        """The step after the last one of an episode, with `NEXT_STEP`."""
        none = np.zeros(self.num_envs, dtype=bool)
        told = infos.masked(infos.of_reset(self.num_envs))
        return self._start(), np.zeros(self.num_envs), none, none.copy(), told

    def _told(self, outcome: Outcome) -> dict[str, Any]:
        return infos.masked(infos.of_step(outcome.metrics))


def _mode(mode: AutoresetMode | str) -> AutoresetMode:
    """Gymnasium's enumeration, from one of its members or values."""
    try:
        return AutoresetMode(mode)
    except ValueError:
        known = ", ".join(f"{one.value!r}" for one in AutoresetMode)
        raise ValueError(f"autoreset_mode is {mode!r}, expected an AutoresetMode or one of {known}") from None


def _check_mask(mask: Any, num_envs: int) -> None:
    """Refuse an `options["reset_mask"]` that is none, or leaves an environment out."""
    if mask is None:
        return
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (num_envs,):
        raise ValueError(f"options['reset_mask'] is {mask!r:.80}, expected a bool array of shape ({num_envs},)")
    if not mask.all():
        raise ValueError(
            f"options['reset_mask'] resets {np.count_nonzero(mask)} of {num_envs} environments, expected all: "
            "they share one simulator, and their episodes begin and end together"
        )


def _rows(space: gym.Space[Any], observations: Any, num_envs: int) -> NDArray[Any]:
    """One observation for each environment, in an object array as Gymnasium's own vector environments give it."""
    rows = np.empty(num_envs, dtype=object)
    for index, row in enumerate(iterate(space, observations)):
        rows[index] = row
    return rows
