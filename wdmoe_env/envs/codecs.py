"""How an Observation and a Decision look as Gymnasium spaces: the encodings of both by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from gymnasium import spaces

from wdmoe_env.envs.actions import (
    LOGIT_SCALE,
    ExpertPriceAction,
    NativeAction,
    PriceAction,
    TokenAction,
    split_by_logits,
)
from wdmoe_env.envs.observations import (
    DeviceObservation,
    DictObservation,
    ExpertObservation,
    FlatObservation,
    device_flat,
    expert_flat,
)
from wdmoe_env.interface import Decision, Observation
from wdmoe_env.registry import Registry
from wdmoe_env.scenario import Scenario

__all__ = [
    "ACTIONS",
    "LOGIT_SCALE",
    "OBSERVATIONS",
    "ActionCodec",
    "ActionEncoding",
    "DeviceObservation",
    "DictObservation",
    "ExpertObservation",
    "ExpertPriceAction",
    "FlatObservation",
    "NativeAction",
    "ObservationCodec",
    "ObservationEncoding",
    "PriceAction",
    "TokenAction",
    "action_codec",
    "observation_codec",
    "register_action",
    "register_observation",
    "split_by_logits",
]

ActionEncoding = str
"""Name of an encoding of actions: `native`, `token`, `price`, `expert-price`, or one that was registered."""
ObservationEncoding = str
"""Name of an encoding of observations: `dict`, `flat`, `device`, `expert`, these as vectors, `device-flat` and
`expert-flat`, or one that was registered."""


class ActionCodec(Protocol):
    """An action space of one environment, and its meaning."""

    @property
    def space(self) -> spaces.Space[Any]:
        """The space of one environment's action."""
        ...

    def decode(self, action: Any, observation: Observation) -> Decision:
        """Turn a batch of N actions into the decision they mean."""
        ...


class ObservationCodec(Protocol):
    """An observation space of one environment, and how to fill it."""

    @property
    def space(self) -> spaces.Space[Any]:
        """The space of one environment's observation."""
        ...

    def encode(self, observation: Observation) -> Any:
        """Turn an Observation into a batch of N elements of the space, float32."""
        ...


MakeAction = Callable[[Scenario], ActionCodec]
MakeObservation = Callable[[Scenario], ObservationCodec]
ACTIONS: Final = Registry[MakeAction]("action")
OBSERVATIONS: Final = Registry[MakeObservation]("observation")


def register_action(name: str, codec: MakeAction) -> MakeAction:
    """Let `gym.make(action=name)` use an encoding of one's own: a class, or whatever makes one for a scenario.

    Raises:
        ValueError: the name is taken.
    """
    return ACTIONS.register(name, codec)


def register_observation(name: str, codec: MakeObservation) -> MakeObservation:
    """Let `gym.make(observation=name)` use an encoding of one's own: a class, or whatever makes one for a scenario.

    Raises:
        ValueError: the name is taken.
    """
    return OBSERVATIONS.register(name, codec)


register_action("native", NativeAction)
register_action("token", TokenAction)
register_action("price", PriceAction)
register_action("expert-price", ExpertPriceAction)
register_observation("dict", DictObservation)
register_observation("flat", FlatObservation)
register_observation("device", DeviceObservation)
register_observation("expert", ExpertObservation)
register_observation("device-flat", device_flat)
register_observation("expert-flat", expert_flat)


def action_codec(name: ActionEncoding, scenario: Scenario) -> ActionCodec:
    """Return the action encoding called `name`, for a scenario.

    Raises:
        ValueError: there is none of that name.
    """
    return ACTIONS.find(name)(scenario)


def observation_codec(name: ObservationEncoding, scenario: Scenario) -> ObservationCodec:
    """Return the observation encoding called `name`, for a scenario.

    Raises:
        ValueError: there is none of that name.
    """
    return OBSERVATIONS.find(name)(scenario)
