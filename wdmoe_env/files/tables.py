"""Read tables of plain cells from CSV and Parquet, and report every fault at once. Nothing in a file is executed."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from wdmoe_env.files.atomic import write_bytes, write_text
from wdmoe_env.files.safe import StorageError, read_file

MAX_FAULTS_SHOWN = 20
MAX_BYTES = 2**30
_PARQUET_MAGIC = b"PAR1"
_MIN_PARQUET_BYTES = 12
_DECODER = Path(__file__).with_name("decode_parquet.py")
_DECODE_SECONDS = 60
_DECODE_BYTES = 3 * 2**29
MAX_CELLS, TOO_LARGE = 5_000_000, 3
"""As in the decoder, which is not imported: it needs polars."""
_NEEDS_POLARS = "Parquet needs polars, which is not installed: pip install polars, or use CSV"


class Fault(NamedTuple):
    """One fault of a table. row: the line of a CSV, the header being 1; the row of a Parquet counts the same way."""

    row: int
    column: str
    value: object
    expected: str


def refuse(path: Path, faults: Sequence[Fault]) -> None:
    """Raise ValueError naming file, row, column, value and expectation of each fault, 20 at most; no faults: return."""
    if not faults:
        return
    shown = [
        f"{path}, row {fault.row}, column {fault.column}: value {fault.value!r:.60}, expected {fault.expected}"
        for fault in faults[:MAX_FAULTS_SHOWN]
    ]
    more = len(faults) - len(shown)
    tail = [f"... and {more} more faults"] if more else []
    raise ValueError("\n".join([f"{path}: {len(faults)} fault(s)", *shown, *tail]))


def read_rows(
    path: Path, required: Sequence[str], known: Sequence[str], faults: list[Fault]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (row number, cells as text) of a table whose columns are known; a missing value is an empty text.

    A row of the wrong length goes to `faults` and is left out.

    Raises:
        ValueError: the file is no such table at all, or a column is missing, unknown or named twice.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    yield from (_parquet_rows if path.suffix == ".parquet" else _csv_rows)(path, required, known, faults)


def text_of(path: Path) -> str:
    """Text of a UTF-8 file, with or without byte order mark; ValueError says what it is instead."""
    try:
        data = read_file(path, MAX_BYTES, links=True)
    except StorageError as error:
        raise ValueError(str(error)) from error
    return decode_text(data, str(path))


def decode_text(data: bytes, name: str) -> str:
    """Text of UTF-8 bytes, with or without byte order mark; ValueError says what the file of that name is instead."""
    kind = "a Python pickle, which is never loaded" if data[:1] == b"\x80" else "binary data"
    if data.startswith(_PARQUET_MAGIC):
        kind = "Parquet: name it .parquet"
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not a UTF-8 text file: it looks like {kind}") from None
    if "\0" in text or data.startswith(_PARQUET_MAGIC):
        raise ValueError(f"{name} is not a text file: it looks like {kind}")
    return text


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV, or as Parquet when the name ends so, whole or not at all. None is an empty cell."""
    if path.suffix == ".parquet":
        content, table = list(rows), io.BytesIO()
        _polars().DataFrame({name: [row[i] for row in content] for i, name in enumerate(columns)}).write_parquet(table)
        write_bytes(path, table.getvalue())
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _csv_rows(
    path: Path, required: Sequence[str], known: Sequence[str], faults: list[Fault]
) -> Iterator[tuple[int, dict[str, str]]]:
    # Split at line ends only: a form feed within a cell ends no line.
    reader = csv.reader(text_of(path).replace("\r\n", "\n").replace("\r", "\n").split("\n"), strict=True)
    try:
        header = next(reader)
        _check_columns(path, header, required, known)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                faults.append(
                    Fault(reader.line_num, "-", f"{len(cells)} cells", f"{len(header)} cells as in the header")
                )
                continue
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path}, row {reader.line_num}: not a CSV table ({error})") from None


def _parquet_rows(
    path: Path, required: Sequence[str], known: Sequence[str], faults: list[Fault]
) -> Iterator[tuple[int, dict[str, str]]]:
    with path.open("rb") as file:
        start = file.read(4)
        size = file.seek(0, 2)
        file.seek(max(size - 4, 0))
        end = file.read()
    if start != _PARQUET_MAGIC:
        raise ValueError(f"{path} is not Parquet: it begins with {start!r}, expected {_PARQUET_MAGIC!r}")
    if end != _PARQUET_MAGIC or size < _MIN_PARQUET_BYTES:
        raise ValueError(f"{path} is truncated: it ends with {end!r}, expected {_PARQUET_MAGIC!r}; copy it again")
    names, rows = _decode_parquet(path)
    _check_columns(path, names, required, known)
    # From 2 on, as in a CSV, where the header is row 1.
    for number, row in enumerate(rows, start=2):
        yield number, dict(zip(names, row, strict=True))


def _decode_parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    """Columns and cells as text, decoded in a process of its own: decoding damaged Parquet can end the process."""
    if find_spec("polars") is None:
        raise ImportError(_NEEDS_POLARS)
    # -P: the modules beside it do not stand in the place of those that it imports.
    isolated = ["-P"] if sys.version_info >= (3, 11) else []
    command = [sys.executable, *isolated, str(_DECODER), str(path), str(_DECODE_BYTES)]
    damaged = ValueError(f"{path} is damaged Parquet: it cannot be decoded; copy or write it again")
    try:
        done = subprocess.run(command, capture_output=True, timeout=_DECODE_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise damaged from None
    if done.returncode == TOO_LARGE:
        raise ValueError(f"{path} stands for more than {MAX_CELLS:,} cells, or very long ones: write it in parts")
    try:
        names, rows = json.loads(done.stdout)
    except ValueError:
        raise damaged from None
    return names, rows


def _check_columns(path: Path, header: Sequence[str], required: Sequence[str], known: Sequence[str]) -> None:
    expected = f"expected columns: {', '.join(required)}"
    if optional := [name for name in known if name not in required]:
        expected += f"; optional: {', '.join(optional)}"
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise ValueError(f"{path}: column {', '.join(twice)} appears more than once; {expected}")
    unknown = [name for name in header if name not in known]
    hint = f"; found instead: {', '.join(map(repr, unknown)):.200}" if unknown else ""
    if missing := [name for name in required if name not in header]:
        raise ValueError(f"{path}: column {', '.join(missing)} is missing{hint}; {expected}")
    if unknown:
        raise ValueError(f"{path}: column {', '.join(map(repr, unknown)):.200} is unknown; {expected}")


def _polars() -> Any:
    try:
        import polars
    except ImportError:
        raise ImportError(_NEEDS_POLARS) from None
    return polars
