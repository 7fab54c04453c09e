"""SB3's view of the simulator: a native VecEnv, without a process or a copy of an environment for each cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from agents.plan.prices import ENCODINGS
from wdmoe_env.arrays import FloatArray
from wdmoe_env.envs import infos
from wdmoe_env.envs.clipping import ClippedActions
from wdmoe_env.envs.codecs import ActionEncoding, ObservationEncoding, action_codec, observation_codec
from wdmoe_env.gating.bank import Split
from wdmoe_env.interface import Observation
from wdmoe_env.scenario import Scenario, load_scenario
from wdmoe_env.simulator.simulator import Simulator


class WDMoEVecEnv(VecEnv):
    """N cells with same-step autoreset, `terminal_observation` and `TimeLimit.truncated`.

    Infos hold `wdmoe_env.envs.infos.KEYS`, `reset_infos` too.

    Args:
        scenario: a preset's name, the path of a YAML file, or a Scenario.
        num_envs: N.
        action, observation: encodings; None: those that the scenario's `prices` asks for.
        split: `train`, `validation` or `test`, which bank of gate weights to draw passes from.
        strict: refuse actions outside of their box, which otherwise are clipped into it with one warning.

    Attributes:
        greedy: what would be decided without exploring, from encoded observations to actions. If it is set, rewards are
            what the actions bring beyond these in the very same state of the cell, channels included that no policy
            sees. As the difference depends on nothing but the state and the action, and what is subtracted not on the
            action, it is a baseline in the sense of the policy gradient theorem, for a discount of 0 (the greedy
            rollout of Kool et al. 2019, arXiv 1803.08475).
    """

    greedy: Callable[[Any], Any] | None = None

    def __init__(
        self,
        scenario: str | Path | Scenario,
        num_envs: int,
        action: ActionEncoding | None = None,
        observation: ObservationEncoding | None = None,
        split: Split = "train",
        strict: bool = False,
    ) -> None:
        scenario = load_scenario(scenario)
        self.simulator, default = Simulator(scenario, num_envs, split), ENCODINGS[scenario.prices]
        self.actions = ClippedActions(action_codec(action or default.action, scenario), strict)
        self.observations = observation_codec(observation or default.observation, scenario)
        super().__init__(num_envs, self.observations.space, self.actions.space)
        self._pending: Any = None
        self._seen: tuple[Observation | None, Any] = None, None
        self._totals: dict[str, float] = {}
        self._count = 0

    def reset(self) -> Any:
        """Start all episodes; the seed given to `seed`, if any, determines the whole batch."""
        observation = self.simulator.reset(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = infos.each(infos.of_reset(self.num_envs))
        return self._encode(observation)

    def step_async(self, actions: Any) -> None:
        self._pending = actions

    def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        baseline = self._greedy_reward()
        outcome = self.simulator.step(self.actions.decode(self._pending, self.simulator.observation))
        observation = self._encode(outcome.observation)
        self._add(outcome.metrics)
        told = infos.each(infos.of_step(outcome.metrics))
        if outcome.truncated.all():
            for index, info in enumerate(told):
                last = (
                    {name: values[index] for name, values in observation.items()}
                    if isinstance(observation, dict)
                    else observation[index]
                )
                info |= {"terminal_observation": last, "TimeLimit.truncated": True}
            observation = self._encode(self.simulator.reset())
        return observation, (outcome.reward - baseline).astype(np.float32), outcome.truncated, told

    def _encode(self, observation: Observation) -> Any:
        self._seen = observation, self.observations.encode(observation)
        return self._seen[1]

    def _greedy_reward(self) -> FloatArray | float:
        """(N,) reward of the greedy decisions in this state, or 0 where rewards are not compared with them."""
        if self.greedy is None:
            return 0.0
        observation = self.simulator.observation
        seen = self._seen[1] if self._seen[0] is observation else self._encode(observation)
        return self.simulator.preview(self.actions.decode(self.greedy(seen), observation))["reward"]

    def _add(self, metrics: Any) -> None:
        self._count += self.num_envs
        for name, values in metrics.items():
            self._totals[name] = self._totals.get(name, 0.0) + float(values.sum())

    def pop_metrics(self) -> dict[str, float]:
        """Mean of every metric over all steps since the last call; empty if there were none."""
        means = {name: total / self._count for name, total in self._totals.items() if name != "bottleneck"}
        self._totals, self._count = {}, 0
        return means

    def close(self) -> None:
        """Nothing to close."""

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * len(self._indices(indices))

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        if attr_name == "render_mode":
            return [None] * len(self._indices(indices))
        return [getattr(self.simulator, attr_name)] * len(self._indices(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(f"{attr_name!r} cannot be set: the cells of a batch share one simulator")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        raise AttributeError(f"{method_name!r} cannot be called on single cells: they share one simulator")

    def _indices(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))
