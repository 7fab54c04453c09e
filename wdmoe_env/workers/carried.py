"""What travels to where units run, by content and never by a path that only this machine has."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from wdmoe_env.files.atomic import write_bytes
from wdmoe_env.scenario import Scenario, load_scenario, scenario_from
from wdmoe_env.settings.contents import digest_of, kept_files
from wdmoe_env.settings.paths import with_paths


@dataclass(frozen=True, slots=True)
class CarriedFile:
    """A file that a scenario names.

    Attributes:
        path: where it lies on the machine that it comes from.
        digest: SHA-256 of what it holds.
        content: what it holds; None where the path holds wherever units run.
    """

    path: str
    digest: str
    content: bytes | None


@dataclass(frozen=True, slots=True)
class CarriedScenario:
    """A scenario and the files that it names.

    Attributes:
        data: the scenario as JSON.
        files: all that it names and that do not come with the project.
    """

    data: str
    files: tuple[CarriedFile, ...]

    def opened(self) -> Scenario:
        """The scenario, whose files are where they were if they hold the same there, else in a folder of this process.

        Raises:
            ValueError: a file does not hold what it did, and its content did not travel.
        """
        return _opened(self)


def carried(scenario: Scenario, near: bool) -> CarriedScenario:
    """A scenario that can travel; `near`: to processes that see the same files, whose contents stay here.

    Raises:
        ValueError: a file that it names cannot be read.
    """
    data = scenario.model_dump(mode="json")
    kept = kept_files(data, Path())
    files = [CarriedFile(path, entry["sha256"], None if near else _content(path)) for path, entry in kept.items()]
    return CarriedScenario(json.dumps(data), tuple(files))


@lru_cache(maxsize=8)
def _opened(packed: CarriedScenario) -> Scenario:
    places = {file.path: _place(file) for file in packed.files}
    data: dict[str, Any] = with_paths(json.loads(packed.data), lambda _, path: places.get(path, path))
    return load_scenario(scenario_from(data))


def _place(file: CarriedFile) -> str:
    if digest_of(file.path) == file.digest:
        return file.path
    if file.content is None:
        raise ValueError(f"{file.path} does not hold what it did (sha256 {file.digest[:12]}): put that back")
    # By its content: two files of one name do not meet.
    place = Path(folder().name) / file.digest[:16] / Path(file.path).name
    place.parent.mkdir(exist_ok=True)
    write_bytes(place, file.content)
    return str(place)


@lru_cache(maxsize=1)
def folder() -> tempfile.TemporaryDirectory[str]:
    """What travelled to this process lies here; gone at its end."""
    return tempfile.TemporaryDirectory(prefix="wdmoe-")


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
