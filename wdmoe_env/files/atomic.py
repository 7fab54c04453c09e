"""Writing whole files, or none."""

from __future__ import annotations

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a whole file or none."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, blob: bytes) -> None:
    """Write a whole file or none."""
    part = part_of(path)
    try:
        write_synced(part, blob)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def part_of(path: Path) -> Path:
    """What is being written in the place of a path."""
    return path.with_name(f".{path.name}.part")


def old_of(path: Path) -> Path:
    """What stood at a path, while it is being replaced."""
    return path.with_name(f".{path.name}.old")


def write_synced(path: Path, blob: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(blob)
        file.flush()
        os.fsync(file.fileno())
