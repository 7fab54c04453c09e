"""What files of training say of the scenario and its encodings: read it back, and tell two apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agents.plan.prices import ENCODINGS
from wdmoe_env.envs.actions import price_kinds
from wdmoe_env.files.safe import StorageError
from wdmoe_env.scenario import Scenario, load_scenario, scenario_from
from wdmoe_env.settings.contents import named_files

LEARNED: Final = ("bandwidth", "prices", "price_max")
"""Settings that say what a policy's actions mean: it keeps those that it was trained with."""


def saved_scenario(data: Any, origin: str, read_files: bool = True) -> Scenario:
    """Return the scenario that was saved as `model_dump(mode="json")`.

    Without `read_files` the files that it names are not looked for: it is for comparing alone.

    Raises:
        StorageError: it is not one of this version; names `origin` and the faults in one line.
    """
    try:
        scenario = scenario_from(data)
    except ValueError as error:
        faults = " ".join(str(error).split())
        raise StorageError(f"{origin} does not fit this version of the project: {faults}") from error
    if not read_files:
        return scenario
    try:
        return load_scenario(scenario)
    except ValueError as error:
        faults = " ".join(str(error).split())
        raise StorageError(f"{origin} names what is not there, or not as it was: {faults}") from error


def encodings(scenario: Scenario) -> dict[str, Any]:
    """What the inputs and outputs of a scenario's networks mean in this version."""
    kinds, used = price_kinds(scenario.bandwidth), ENCODINGS[scenario.prices]
    inputs = {"observation": used.observation, "features": list(used.features)}
    return {"action": used.action, "action_kinds": kinds, **inputs}


def scenario_difference(trained: Scenario, other: Scenario, contents: Mapping[str, str] | None = None) -> str | None:
    """The first setting in which two scenarios differ, in words.

    Names, how actions are encoded, and the scale of the reward, which no policy sees, do not count. Files count by what
    they hold: of `trained` as `contents` says, digests by path; without it the files are read as they are now.
    """
    ignored: dict[str, Any] = dict.fromkeys(("name", "description", "based_on", *LEARNED), True)
    ignored["reward"] = {"scale"}
    before = named_files(trained.model_dump(mode="json", exclude=ignored), contents)
    return first_difference(before, named_files(other.model_dump(mode="json", exclude=ignored)), "")


def first_difference(trained: Any, here: Any, place: str) -> str | None:
    """The first place in which two trees of plain values differ, in words."""
    if isinstance(trained, dict) and isinstance(here, dict):
        for key in sorted(set(trained) | set(here)):
            if found := first_difference(trained.get(key), here.get(key), f"{place}.{key}" if place else key):
                return found
        return None
    if isinstance(trained, (list, tuple)) and isinstance(here, (list, tuple)):
        pairs = enumerate(zip(trained, here, strict=False))
        found = next((f for i, (one, two) in pairs if (f := first_difference(one, two, f"{place}[{i}]"))), None)
        if found or len(trained) == len(here):
            return found
        return f"{place} had {len(trained)} entries, and has {len(here)} here"
    return None if trained == here else f"{place} was {trained!r:.120}, and is {here!r:.120} here"
