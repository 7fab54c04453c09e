"""From a preset, a file or a mapping to validated settings, with errors that name each key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os.path import isfile
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from wdmoe_env.files.yaml import read_yaml
from wdmoe_env.hardware.radio.replay import Sampling, read_stretches
from wdmoe_env.hardware.radio.traces import RadioTrace
from wdmoe_env.settings.parts import TraceSettings
from wdmoe_env.settings.paths import anchor, resolve

PRESETS: Final = Path(__file__).parents[1] / "scenarios"
Model = TypeVar("Model", bound=BaseModel)


def preset_names() -> list[str]:
    """Names of the scenarios that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_source(source: str) -> dict[str, Any]:
    """Read the keys of a preset, by its name, or of a YAML file, by its path.

    Raises:
        ValueError: the scenario is unknown, or the file is broken.
    """
    path = _find(source)
    try:
        return dict(anchor(read_yaml(path), path.parent))
    except RecursionError:
        raise ValueError(f"{path} holds an alias of itself") from None


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `overrides` merged in; mappings merge key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in overrides.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def override(data: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge overrides into a scenario's mapping; another source of gate weights takes the place of the one there."""
    gating, changes = data.get("gating"), overrides.get("gating")
    if isinstance(gating, Mapping) and isinstance(changes, Mapping):
        sources = {"family", "trace"}
        if any(changes.get(key) is not None for key in sources):
            data = {**data, "gating": {key: value for key, value in gating.items() if key not in sources}}
    return merge(data, overrides)


def read_logs(trace: TraceSettings) -> list[list[RadioTrace]]:
    """Resampled stretches of each radio log.

    Raises:
        ValueError: there is no such file, it is no log, or it holds a gap that is refused; names the file.
    """
    sampling = Sampling(trace.step_s, trace.interpolation, trace.gaps, trace.max_gap_s)
    return read_stretches([resolve(file) for file in trace.files], sampling)


def validated(kind: type[Model], data: dict[str, Any], origin: str, what: str = "scenario") -> Model:
    """Make a scenario of a mapping, or tell of each key what is wrong with it. No file that it names is looked for.

    `what` is made, where it is other settings than those of a scenario.

    Raises:
        ValueError: names `origin`, and each key with its value.
    """
    try:
        data = _plain(data, origin, ())
        # Through JSON, so that lists become tuples while every other type stays strict.
        return kind.model_validate_json(json.dumps(data))
    except RecursionError:
        raise ValueError(f"{origin} is nested too deeply, or holds an alias of itself") from None
    except ValidationError as error:
        faults = [f"{_place(fault['loc'])}: {fault['msg']} (got {fault['input']!r:.80})" for fault in error.errors()]
        raise invalid(origin, faults, what) from None


def invalid(origin: str, faults: Sequence[str], what: str = "scenario") -> ValueError:
    """The error that tells all faults of a scenario at once, each with its key."""
    return ValueError("\n".join([f"{origin} is not a valid {what}:", *(f"  {fault}" for fault in faults)]))


def _find(source: str) -> Path:
    if source in preset_names():
        return PRESETS / f"{source}.yaml"
    # Not Path.is_file, which raises where a name is too long for the file system.
    if isfile(source):
        return Path(source)
    raise ValueError(
        f"unknown scenario {source!r:.300}: expected one of {', '.join(preset_names())}, or the path of a YAML file"
    )


def _plain(value: Any, origin: str, place: tuple[int | str, ...]) -> Any:
    """Refuse what is no text, number, list or mapping, such as a date in a YAML file; take over NumPy's numbers."""
    if isinstance(value, Mapping):
        if foreign := [key for key in value if not isinstance(key, str)]:
            what = f"{foreign[0]!r:.60}, a {type(foreign[0]).__name__}"
            raise ValueError(f"{origin}: {_place(place)} has the key {what}, expected a text")
        return {key: _plain(part, origin, (*place, key)) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part, origin, (*place, index)) for index, part in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, (str, int, float, bool, type(None))):
        raise ValueError(f"{origin}: {_place(place)} is {value!r:.80}, expected a text, number, list or mapping")
    return value


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "scenario"
