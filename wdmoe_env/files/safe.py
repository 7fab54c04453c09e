"""Reading files that somebody else may have made: regular ones alone, no larger than expected, plain JSON."""

from __future__ import annotations

import json
import stat
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

MAX_JSON_BYTES = 4 * 2**20
"""Scenarios and states take some kilobytes."""


class StorageError(Exception):
    """A save failed, or what should be loaded is missing, broken or foreign; the message says which and what to do."""


def read_file(path: Path, most: int, links: bool = False) -> bytes:
    """The content of a regular file; nothing is read of a link, a pipe, a device or a file of more than `most` bytes.

    With `links` a link is followed: for a file that somebody names on purpose.

    Raises:
        StorageError: it is missing, something else, or too large.
    """
    try:
        status = path.stat() if links else path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise StorageError(f"{path} is {_kind(status.st_mode)}, expected a regular file")
        if status.st_size > most:
            raise StorageError(f"{path} has {status.st_size:,} bytes, expected at most {most:,}")
        with path.open("rb") as file:
            return file.read(status.st_size)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error


def read_text(path: Path, most: int) -> str:
    """The UTF-8 text of a file that somebody names on purpose, also by a link.

    Raises:
        StorageError: it is missing, no regular file, too large, or no such text.
    """
    try:
        return read_file(path, most, links=True).decode()
    except UnicodeDecodeError as error:
        raise StorageError(f"{path} is no UTF-8 text: byte {error.start} is {error.reason}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A mapping from a JSON file, whose numbers are finite.

    Raises:
        StorageError: it cannot be read, or is something else.
    """
    blob = read_file(path, MAX_JSON_BYTES)
    try:
        data = json.loads(blob, parse_float=_finite, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path} is broken: {error}") from error
    if not isinstance(data, dict):
        raise StorageError(f"{path} holds a {type(data).__name__}, expected a mapping")
    return data


def _kind(mode: int) -> str:
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}
    return kinds.get(stat.S_IFMT(mode), "a device or socket")


def _finite(text: str) -> float:
    value = float(text)
    return value if isfinite(value) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"it holds {text:.20}, expected finite numbers")
