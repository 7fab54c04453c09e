"""PredictedPolicy: any function from observations to actions as a `Policy`, to be compared with all others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wdmoe_env.envs.clipping import ClippedActions
from wdmoe_env.envs.codecs import ActionEncoding, ObservationCodec, ObservationEncoding, action_codec, observation_codec
from wdmoe_env.interface import Decision, Observation
from wdmoe_env.scenario import Scenario


class PredictedPolicy:
    """A policy of another library, which sees encoded observations and returns actions.

    Args:
        predict: takes N encoded observations at once, as a vector environment returns them, and returns N actions, or a
            tuple that begins with them, such as that of Stable-Baselines3's `model.predict`. Actions outside of their
            box are clipped with one warning.
        name: what tables call it.
        action, observation: the encodings that it was trained with.
        reset: called with N before N episodes begin, for a policy that remembers.

    >>> import numpy as np, wdmoe_env
    >>> policy = PredictedPolicy(lambda seen: np.zeros((len(seen), 8)), name="zero")
    >>> simulator = wdmoe_env.Simulator(wdmoe_env.load_scenario("paper"), num_envs=3)
    >>> policy.reset(simulator.scenario, num_envs=3)
    >>> policy.decide(simulator.reset(seed=0)).bandwidth.shape
    (3, 8)
    """

    def __init__(
        self,
        predict: Callable[[Any], Any],
        name: str = "predicted",
        action: ActionEncoding = "price",
        observation: ObservationEncoding = "device-flat",
        reset: Callable[[int], None] | None = None,
    ) -> None:
        self.name = name
        self._predict, self._begin = predict, reset
        self._action, self._observation = action, observation
        self._ready: tuple[ClippedActions, ObservationCodec] | None = None

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        """Get ready for `num_envs` episodes of `scenario`."""
        actions = ClippedActions(action_codec(self._action, scenario))
        self._ready = actions, observation_codec(self._observation, scenario)
        if self._begin is not None:
            self._begin(num_envs)

    def decide(self, observation: Observation) -> Decision:
        """Encode, predict, decode.

        Raises:
            RuntimeError: `reset` was not called yet.
            ValueError: what is predicted is no action.
        """
        if self._ready is None:
            raise RuntimeError(f"call reset() of policy {self.name!r} before the first decide()")
        actions, observations = self._ready
        predicted = self._predict(observations.encode(observation))
        return actions.decode(predicted[0] if isinstance(predicted, tuple) else predicted, observation)
