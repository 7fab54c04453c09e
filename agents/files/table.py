"""CSV tables that grow row by row and survive being cut short."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wdmoe_env.files.atomic import write_text
from wdmoe_env.files.safe import StorageError

TAIL = 1 << 16
"""Bytes in which the last row of a table surely lies."""


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append a row; columns that the table does not have yet are added to it.

    Raises:
        StorageError: it could not be written; the table is as it was.
    """
    try:
        columns, size = _columns(path), path.stat().st_size if path.exists() else 0
        if new := [name for name in row if name not in columns]:
            columns = [*columns, *new]
            write_text(path, _lines(columns, [*read_rows(path), row], header=True))
            return
        try:
            with path.open("ab") as file:
                file.write(_lines(columns, [row]).encode())
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(path, size)
            raise
    except OSError as error:
        raise StorageError(f"could not append to {path}: {error}; what was written before is intact") from error


def count_rows(path: Path) -> int:
    """Complete rows, the header not counted; 0 where there is no file."""
    return max(path.read_bytes().count(b"\n") - 1, 0) if path.exists() else 0


def keep_rows(path: Path, count: int) -> None:
    """Drop all but the first rows, and a last line that was cut short."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines[: count + 1] if line.endswith("\n")]
        try:
            write_text(path, "".join(kept))
        except OSError:
            # Where nothing is to be dropped the disk may be full, or read-only.
            if kept != lines:
                raise


def last_number(path: Path) -> float:
    """The first cell of the last complete row; 0 where there is none. Only the end of a long table is read."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - TAIL, 0))
            return float(file.read().split(b"\n")[-2].split(b",")[0])
    except (FileNotFoundError, IndexError, ValueError):
        return 0.0


def numbers(path: Path, column: str) -> list[float]:
    """A column's numbers in all complete rows; none where there is no file."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [float(row[column]) for row in csv.DictReader(io.StringIO(text)) if row.get(column)]


def _columns(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def read_rows(path: Path) -> list[dict[str, str]]:
    """All rows, as text; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], header: bool = False) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
