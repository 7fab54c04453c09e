"""The one way in which results get onto the disk: whole, or not at all.

Content is written under another name in the same folder, flushed to the disk, and renamed; then the folder is flushed,
so that the new name outlives a power cut, too. Whoever reads meets the old content or the new, never a part. What
fails leaves no file behind.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a whole file of UTF-8 text or none; as `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or none.

    Raises:
        OSError: the disk is full or not writable; `path` is as it was, or where only the folder's names could not be
            flushed, has all of the new content.
    """
    with replacing(path) as part:
        part.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Another path to write a file to, which takes the place of `path` when the block ends without an error.

    A link stays, and what it leads to is replaced. Pipes and devices, such as /dev/stdout, are written to as they are.

    Raises:
        OSError: as `write_bytes`.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    # A name of this process's own: of two that write at once, one comes last, and neither mixes with the other.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # What a killed process left, or a link that would lead elsewhere.
        part.unlink(missing_ok=True)
        yield part
        _flush(part)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    _flush_names(path.parent)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder that holds these files alone, in the place of what it held, whole or not at all.

    Between two renames only `old_of` the folder is there: whoever may be killed then calls `tidy` before the next read.

    Raises:
        OSError: the disk is full or not writable; `folder` is as it was.
    """
    part, old, replaced = part_of(folder), old_of(folder), False
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, content in files.items():
            (part / name).write_bytes(content)
            _flush(part / name)
        _flush_names(part)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(folder, old)
        os.replace(part, folder)
        replaced = True
        _flush_names(folder.parent)
    except BaseException:
        shutil.rmtree(folder if replaced else part, ignore_errors=True)
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """A new folder that nobody else was given: of this name, or with -2, -3, ... behind it.

    It is made at once, so that of two that ask in the same moment each gets its own; one that stays empty goes again.

    Raises:
        OSError: it cannot be made.
    """
    for number in count(1):
        folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        break
    try:
        yield folder
    finally:
        with suppress(OSError):
            folder.rmdir()


def tidy(parent: Path) -> None:
    """Clear what a killed process left in a folder: finish or undo the replacement of a folder, remove parts.

    Raises:
        OSError: it cannot be cleared.
    """
    for old in parent.glob(".*.old"):
        folder = parent / old.name.removeprefix(".").removesuffix(".old")
        shutil.rmtree(old) if folder.exists() else os.replace(old, folder)
    for part in parent.glob(".*.part"):
        shutil.rmtree(part) if part.is_dir() else part.unlink()


def part_of(folder: Path) -> Path:
    """What is being written in the place of a folder."""
    return folder.with_name(f".{folder.name}.part")


def old_of(folder: Path) -> Path:
    """What stood in the place of a folder, while it is being replaced."""
    return folder.with_name(f".{folder.name}.old")


def _flush(path: Path) -> None:
    # For writing: Windows flushes no file that is open for reading alone.
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _flush_names(folder: Path) -> None:
    """Flush which names a folder holds, where the system (Windows cannot) and the file system know how to."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
