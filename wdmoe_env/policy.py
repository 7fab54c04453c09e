"""What decides: baselines, trained agents and whatever a user brings are all a `Policy`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from wdmoe_env.interface import Decision, Observation
from wdmoe_env.scenario import Scenario


@runtime_checkable
class Policy(Protocol):
    """Anything that decides: a baseline or a trained agent."""

    name: str

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        """Forget everything and get ready for `num_envs` episodes of `scenario`."""
        ...

    def decide(self, observation: Observation) -> Decision:
        """Return the decision for every environment of `observation`."""
        ...
