"""Files that a saved scenario names, known by their content: where they lie may change, what they hold may not."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from wdmoe_env.settings.paths import with_paths

CHUNK = 2**20
FILES = "files"
"""Key under which `kept_files` lies beside a saved scenario."""


@dataclass(frozen=True, eq=False)
class NamedFile:
    """A file that a scenario names. Two are the same if they hold the same; where one's content is not known, by path.

    Attributes:
        path: where it lies.
        digest: SHA-256 of what it holds, where it is known.
    """

    path: str
    digest: str | None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NamedFile):
            return NotImplemented
        return self.path == other.path if None in (self.digest, other.digest) else self.digest == other.digest

    def __repr__(self) -> str:
        return repr(self.path) if self.digest is None else f"{self.path!r} (sha256 {self.digest[:12]})"


def digest_of(path: str | Path) -> str | None:
    """SHA-256 of what a regular file holds; None where there is none that can be read."""
    try:
        if not os.path.isfile(path):
            return None
        status = os.stat(path)
        return _digest(str(path), status.st_size, status.st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=256)
def _digest(path: str, size: int, written_ns: int) -> str:
    """Of a file as it is now: size and time let one that has changed be read again."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def named_files(data: Mapping[str, Any], known: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A scenario's data, in which each path is a `NamedFile`.

    With `known` digests by path no file is read.
    """

    def named(_: str, path: str) -> Any:
        return NamedFile(path, digest_of(path) if known is None else known.get(path))

    return with_paths(dict(data), named)


def fingerprint(data: Mapping[str, Any]) -> str:
    """SHA-256 of a scenario's data, or of a part of it, and of what the files hold that it names."""
    told = with_paths(dict(data), lambda _, path: digest_of(path) or path)
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def kept_files(data: Mapping[str, Any], folder: Path) -> dict[str, dict[str, str]]:
    """What is saved of the files that a scenario names: of each path its SHA-256, and where it is from a folder on."""
    found: dict[str, dict[str, str]] = {}

    def keep(_: str, path: str) -> str:
        # What comes with the package is named alone, and found wherever that is installed.
        if os.path.isabs(path) and (digest := digest_of(path)) is not None:
            found[path] = {"sha256": digest, "relative": os.path.relpath(path, folder.absolute())}
        return path

    with_paths(dict(data), keep)
    return found


def digests(kept: Any) -> dict[str, str]:
    """The digests by path that `kept_files` saved; what is something else is left out."""
    if not isinstance(kept, dict):
        return {}
    return {path: entry["sha256"] for path, entry in kept.items() if _is_kept(entry)}


def relocated(data: Mapping[str, Any], kept: Any, folder: Path) -> dict[str, Any]:
    """A saved scenario's data, whose files are found where they were, or where they were moved with the folder.

    Looked at are the old path, the same place as seen from `folder`, and `folder` and those around it for the name.

    Raises:
        ValueError: a file is nowhere, or holds something else than it did; names it, and what was tried.
    """
    if not isinstance(kept, dict):
        return dict(data)

    def find(_: str, path: str) -> str:
        if not _is_kept(entry := kept.get(path)):
            return path
        assert entry is not None
        here, name = folder.absolute(), Path(path).name
        tried = [path, os.path.normpath(here / entry["relative"]), *(str(near / name) for near in (here, here.parent))]
        tried = list(dict.fromkeys(tried))
        found = {place: digest_of(place) for place in tried}
        for place, digest in found.items():
            if digest == entry["sha256"]:
                return place
        if changed := [place for place, digest in found.items() if digest is not None]:
            raise ValueError(
                f"{changed[0]} holds something else than {path} did (sha256 {entry['sha256'][:12]}): put that back"
            )
        raise ValueError(f"no file {path!r} any more: tried {', '.join(tried)}; put it back, or beside the run")

    return with_paths(dict(data), find)


def _is_kept(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("sha256", "relative"))
