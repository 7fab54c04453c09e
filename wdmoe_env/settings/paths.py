"""Where the files that a scenario names are looked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).parents[1] / "scenarios"
"""Folder of the presets and of the files that they name."""
SUFFIX = ".safetensors"
"""A gate trace that comes with the package is named without it."""
KEYS = ("file", "files", "trace")
"""Keys of a scenario that hold paths."""


def resolve(path: str, suffix: str = "") -> Path:
    """Find a file: as it stands (from the working directory on), else among the files that come with the presets.

    Of the latter the `suffix` may be left out.

    Raises:
        ValueError: there is no such file; the message lists what was tried.
    """
    tried = [Path(path), SHIPPED / path, *([SHIPPED / f"{path}{suffix}"] if suffix else [])]
    for place in tried:
        if place.is_file():
            return place
    raise ValueError(f"no file {path!r}: tried {' and '.join(dict.fromkeys(str(place.absolute()) for place in tried))}")


def absolute(path: str, suffix: str = "") -> str:
    """The path of a file that holds from anywhere; of one that comes with the presets its name alone, without `suffix`.

    Raises:
        ValueError: there is no such file; the message lists what was tried.
    """
    found = resolve(path, suffix).absolute()
    return found.name.removesuffix(suffix) if found.parent == SHIPPED.absolute() else str(found)


def anchor(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Data of a scenario file, in which files are found that lie beside it and not in the working directory.

    Their paths become absolute; all others stay as they are. `folder` is that of the scenario's file.
    """
    try:
        return {key: _walk(part, folder) for key, part in data.items()}
    except RecursionError:
        # An alias of itself, which loading refuses.
        return data


def _walk(value: Any, folder: Path) -> Any:
    if isinstance(value, Mapping):
        # `trace` is a file in one section, and a section of its own in another.
        named = {key for key, part in value.items() if key in KEYS and not isinstance(part, Mapping)}
        return {k: _anchored(part, folder) if k in named else _walk(part, folder) for k, part in value.items()}
    if isinstance(value, list):
        return [_walk(part, folder) for part in value]
    return value


def _anchored(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_anchored(part, folder) for part in value]
    if isinstance(value, str) and not Path(value).is_file() and (folder / value).is_file() and folder != SHIPPED:
        return str((folder / value).absolute())
    return value
