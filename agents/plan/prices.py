"""What a policy prices, as its scenario sets it, and how it sees and says that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from wdmoe_env.envs.actions import ExpertPriceAction, PriceAction
from wdmoe_env.envs.codecs import ObservationCodec, observation_codec
from wdmoe_env.envs.expert_features import EXPERT_FEATURES
from wdmoe_env.envs.features import FEATURES
from wdmoe_env.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Encoding:
    """How policies see cells and decide.

    Attributes:
        action, observation: names of the encodings, see `wdmoe_env.envs.codecs`.
        codec: that of the action.
        features: name and meaning of each column of the observation.
    """

    action: str
    observation: str
    codec: type[PriceAction]
    features: Mapping[str, str]


ENCODINGS: Final = {
    "device": Encoding("price", "device", PriceAction, FEATURES),
    "expert": Encoding("expert-price", "expert", ExpertPriceAction, EXPERT_FEATURES),
}
"""By a scenario's `prices`."""


def price_action(scenario: Scenario) -> PriceAction:
    """The encoding of a policy's actions."""
    return ENCODINGS[scenario.prices].codec(scenario)


def priced_observation(scenario: Scenario) -> ObservationCodec:
    """The encoding of what a policy sees: a table with a row for all that it prices."""
    return observation_codec(ENCODINGS[scenario.prices].observation, scenario)
