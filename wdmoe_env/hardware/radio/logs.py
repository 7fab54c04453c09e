"""Find radio logs in a file, a folder or an archive, and read them with limits. A file is known by what it holds."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wdmoe_env.files.safe import StorageError, read_file
from wdmoe_env.files.tables import decode_text

MAX_LOG_BYTES = 64 * 2**20
"""A second of a log takes some 100 bytes: this is a week."""
MAX_LOGS = 10_000
MAX_UNPACKED_BYTES = 4 * 2**30
_GZIP, _ZIP = b"\x1f\x8b", b"PK"
# What a zip member of somebody else's making can raise while it is unpacked; RuntimeError: it is encrypted.
_UNPACKING = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError, ValueError)


class RefusedError(ValueError):
    """A log was refused.

    Attributes:
        reason: why, in the same words for like logs.
        detail: what is particular to this one; the message has both.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Log:
    """A file that may be a log.

    Attributes:
        name: where it lies, the path as it was given first.
        source: the same from the last part of the given path on, which is the same on another machine.
        text: its content, or why it cannot be read.
    """

    name: str
    source: str
    text: str | RefusedError


def find_logs(path: Path) -> Iterator[Log]:
    """Every file at a path: itself, those in the folder, those in the zip file; hidden ones and empty folders not.

    Raises:
        ValueError: there is nothing at the path, or more than MAX_LOGS files or MAX_UNPACKED_BYTES.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if not path.is_dir():
        yield from _logs_of(path, path.name)
        return
    # Sorted by their parts, and none of a hidden folder such as .git.
    inside = sorted(file.relative_to(path) for file in path.rglob("*"))
    files = [file for file in inside if not any(part.startswith(".") for part in file.parts)]
    kept = [file for file in files if (path / file).is_file()]
    if len(kept) > MAX_LOGS:
        raise ValueError(f"{path} holds {len(kept)} files, expected at most {MAX_LOGS}: name a folder of logs")
    for file in kept:
        yield from _logs_of(path / file, str(Path(path.name) / file))


def _logs_of(path: Path, source: str) -> Iterator[Log]:
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        yield Log(str(path), source, RefusedError(f"cannot be read: {error.strerror}"))
        return
    if start == _ZIP:
        yield from _members(path, source)
    else:
        yield Log(str(path), source, _text(path, start))


def _text(path: Path, start: bytes) -> str | RefusedError:
    try:
        if start == _GZIP:
            with gzip.open(path) as file:
                return _decoded(file, path.name)
        return decode_text(read_file(path, MAX_LOG_BYTES, links=True), path.name)
    except RefusedError as error:
        return error
    except StorageError as error:
        return RefusedError(_LARGE if path.stat().st_size > MAX_LOG_BYTES else "no regular file", str(error))
    except (OSError, EOFError, zlib.error) as error:
        return RefusedError("damaged gzip", str(error))
    except ValueError as error:
        return RefusedError("no text", str(error))


def _members(path: Path, source: str) -> Iterator[Log]:
    """The files in a zip file; nothing is unpacked to disk."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        yield Log(str(path), source, RefusedError("no whole zip file", str(error)))
        return
    with archive:
        # __MACOSX holds no logs but attributes of files.
        infos = [info for info in archive.infolist() if not info.is_dir() and not _hidden(info.filename)]
        if len(infos) > MAX_LOGS:
            raise ValueError(f"{path} holds {len(infos)} files, expected at most {MAX_LOGS}")
        unpacked = 0
        for info in infos:
            text: str | RefusedError
            try:
                with archive.open(info) as member:
                    text = _decoded(member, info.filename)
            except RefusedError as error:
                text = error
            except _UNPACKING as error:
                encrypted = info.flag_bits & 1
                text = RefusedError("encrypted in the zip file" if encrypted else "damaged in the zip file", str(error))
            # What was read counts, not what the archive says of itself.
            unpacked += len(text) if isinstance(text, str) else MAX_LOG_BYTES if text.reason == _LARGE else 0
            if unpacked > MAX_UNPACKED_BYTES:
                raise ValueError(f"{path} unpacks to more than {MAX_UNPACKED_BYTES:,} bytes: import a part of it")
            yield Log(f"{path}/{info.filename}", f"{source}/{info.filename}", text)


def _hidden(name: str) -> bool:
    return name.startswith("__MACOSX") or any(part.startswith(".") for part in name.split("/"))


def _decoded(file: IO[bytes] | gzip.GzipFile, name: str) -> str:
    data = file.read(MAX_LOG_BYTES + 1)
    if len(data) > MAX_LOG_BYTES:
        raise RefusedError(_LARGE)
    try:
        return decode_text(data, name)
    except ValueError as error:
        raise RefusedError("no text", str(error)) from None


_LARGE = f"larger than {MAX_LOG_BYTES:,} bytes"
