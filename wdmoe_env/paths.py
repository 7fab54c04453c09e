"""Where the files that a scenario names are looked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).parent / "scenarios"
"""Folder of the presets and of the files that they name."""
KEYS = ("file", "files")
"""Keys of a scenario that hold paths."""


def resolve(path: str) -> Path:
    """Find a file: as it stands (from the working directory on), else among the files that come with the presets.

    Raises:
        ValueError: there is no such file; the message lists what was tried.
    """
    tried = [Path(path), SHIPPED / path]
    for place in tried:
        if place.is_file():
            return place
    raise ValueError(f"no file {path!r}: tried {' and '.join(dict.fromkeys(str(place.absolute()) for place in tried))}")


def absolute(path: str) -> str:
    """The path of a file that holds from anywhere; the name alone of one that comes with the presets.

    Raises:
        ValueError: there is no such file; the message lists what was tried.
    """
    found = resolve(path)
    return found.name if found.absolute().parent == SHIPPED.absolute() else str(found.absolute())


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
        return {key: _anchored(part, folder) if key in KEYS else _walk(part, folder) for key, part in value.items()}
    if isinstance(value, list):
        return [_walk(part, folder) for part in value]
    return value


def _anchored(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_anchored(part, folder) for part in value]
    if isinstance(value, str) and not Path(value).is_file() and (folder / value).is_file() and folder != SHIPPED:
        return str((folder / value).absolute())
    return value
