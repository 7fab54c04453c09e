"""Where the files that a scenario names are looked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os.path import isfile
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
        if isfile(place):
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

    def beside(_: str, path: str) -> str:
        if folder == SHIPPED or isfile(path) or not isfile(folder / path):
            return path
        return str((folder / path).absolute())

    return with_paths(data, beside)


def located(data: dict[str, Any]) -> dict[str, Any]:
    """Data of a scenario whose paths hold from anywhere; those of files that are not found stay as they are.

    Whoever opens a file that is not there says so, with the key that names it.
    """

    def found(key: str, path: str) -> str:
        try:
            # A measurement table is opened as it is named; all else is looked for among the presets' files, too.
            return str(resolve(path).absolute()) if key == "file" else absolute(path, SUFFIX if key == "trace" else "")
        except ValueError:
            return path

    return with_paths(data, found)


def with_paths(data: dict[str, Any], change: Callable[[str, str], Any]) -> dict[str, Any]:
    """Data with what `change` makes of every key that names files and its path."""

    def walk(value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            return {name: walk(part, name if name in KEYS else "") for name, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [walk(part, key) for part in value]
        return change(key, value) if key and isinstance(value, str) else value

    try:
        return {name: walk(part) for name, part in data.items()}
    except RecursionError:
        # An alias of itself, which loading refuses.
        return data
