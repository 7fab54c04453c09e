"""Scenarios in files that training wrote: read them back, and tell two apart."""

from __future__ import annotations

from typing import Any

from agents.storage import StorageError
from wdmoe_env.scenario import Scenario, scenario_from


def saved_scenario(data: Any, origin: str) -> Scenario:
    """Return the scenario that was saved as `model_dump(mode="json")`.

    Raises:
        StorageError: it is not one of this version; names `origin` and the faults in one line.
    """
    try:
        return scenario_from(data)
    except ValueError as error:
        faults = " ".join(str(error).split())
        raise StorageError(f"{origin} does not fit this version of the project: {faults}") from error


def scenario_difference(trained: Scenario, other: Scenario) -> str | None:
    """The first setting in which two scenarios differ, in words; names and descriptions do not count."""
    ignored = {"name", "description"}
    return _first_difference(trained.model_dump(exclude=ignored), other.model_dump(exclude=ignored), "")


def _first_difference(trained: Any, other: Any, place: str) -> str | None:
    if isinstance(trained, dict) and isinstance(other, dict):
        for key in sorted(set(trained) | set(other)):
            if found := _first_difference(trained.get(key), other.get(key), f"{place}.{key}" if place else key):
                return found
        return None
    return None if trained == other else f"{place} was {trained!r:.60}, and is {other!r:.60} here"
