"""How an Observation and a Decision look as Gymnasium spaces: the encodings of both by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, get_args

from gymnasium import spaces

from wdmoe_env.envs.actions import LOGIT_SCALE, PRICE_MAX, NativeAction, PriceAction, TokenAction, split_by_logits
from wdmoe_env.envs.observations import DeviceObservation, DictObservation, FlatObservation
from wdmoe_env.interface import Decision, Observation
from wdmoe_env.scenario import Scenario

__all__ = [
    "LOGIT_SCALE",
    "PRICE_MAX",
    "ActionCodec",
    "ActionEncoding",
    "DeviceObservation",
    "DictObservation",
    "FlatObservation",
    "NativeAction",
    "ObservationCodec",
    "ObservationEncoding",
    "PriceAction",
    "TokenAction",
    "action_codec",
    "observation_codec",
    "split_by_logits",
]

ActionEncoding = Literal["native", "token", "price"]
ObservationEncoding = Literal["dict", "flat", "device"]


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


def action_codec(name: str, scenario: Scenario) -> ActionCodec:
    """Return the action encoding called `name`: `native`, `token` or `price`."""
    if name not in get_args(ActionEncoding):
        raise ValueError(f"action is {name!r}, expected one of {', '.join(get_args(ActionEncoding))}")
    codecs: dict[str, Callable[[Scenario], ActionCodec]] = {
        "native": NativeAction,
        "token": TokenAction,
        "price": PriceAction,
    }
    return codecs[name](scenario)


def observation_codec(name: str, scenario: Scenario) -> ObservationCodec:
    """Return the observation encoding called `name`: `dict`, `flat` or `device`."""
    if name not in get_args(ObservationEncoding):
        raise ValueError(f"observation is {name!r}, expected one of {', '.join(get_args(ObservationEncoding))}")
    codecs: dict[str, Callable[[Scenario], ObservationCodec]] = {
        "dict": DictObservation,
        "flat": FlatObservation,
        "device": DeviceObservation,
    }
    return codecs[name](scenario)
