"""What all baselines share: they hold the scenario from `reset` on, and check their options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, TypeVar

from wdmoe_env.interface import Decision, Observation
from wdmoe_env.scenario import Scenario

Choice = TypeVar("Choice", bound=str)


class Baseline(ABC):
    """A `Policy` that thinks instead of learns."""

    name: str

    def __init__(self) -> None:
        self._scenario: Scenario | None = None

    @property
    def scenario(self) -> Scenario:
        """The scenario that is decided for.

        Raises:
            RuntimeError: `reset` was not called yet.
        """
        if self._scenario is None:
            raise RuntimeError(f"call reset() of policy {self.name!r} before the first decide()")
        return self._scenario

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        """Forget everything and get ready for `num_envs` episodes of `scenario`."""
        self._scenario = scenario

    @abstractmethod
    def decide(self, observation: Observation) -> Decision:
        """Return the decision for every environment of `observation`."""


def check_range(name: str, value: Any, low: float, high: float = float("inf"), above: bool = False) -> float:
    """Return a number from `low` to `high`, `low` itself left out with `above`; else raise a ValueError."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Written so that NaN fails it too.
    if not number or not (low < value if above else low <= value) or not value <= high:
        lower = f"more than {low:g}" if above else f"at least {low:g}"
        upper = "" if high == float("inf") else f" and at most {high:g}"
        raise ValueError(f"{name} is {value!r}, expected a number of {lower}{upper}")
    return float(value)


def check_choice(name: str, value: Choice, choices: Collection[str]) -> Choice:
    """Return `value` if it is one of `choices`; else raise a ValueError."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(choices)}")
    return value


def check_flag(name: str, value: Any) -> bool:
    """Return a bool; else raise a ValueError."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, expected True or False")
    return value


def check_whole(name: str, value: Any, low: int) -> int:
    """Return a whole number of at least `low`; else raise a ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} is {value!r}, expected a whole number of at least {low}")
    return value
