from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.files.table import append_row, count_rows, keep_rows, last_number, numbers
from wdmoe_env.files.safe import StorageError


def test_rows_and_new_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    assert count_rows(path) == 0
    append_row(path, {"step": 1, "a": 0.1})
    append_row(path, {"step": 2, "a": 1 / 3, "b, with comma": 5})
    append_row(path, {"step": 3})
    assert path.read_text() == f'step,a,"b, with comma"\n1,0.1,\n2,{1 / 3!r},5\n3,,\n'
    assert count_rows(path) == 3


def test_keep_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    keep_rows(path, 3)
    path.write_text("step,a\n1,2\n3,4\n5,")
    assert count_rows(path) == 2
    keep_rows(path, 5)
    assert path.read_text() == "step,a\n1,2\n3,4\n"
    keep_rows(path, 1)
    assert path.read_text() == "step,a\n1,2\n"
    keep_rows(path, 0)
    assert path.read_text() == "step,a\n"
    append_row(path, {"step": 9, "a": 8})
    assert path.read_text() == "step,a\n9,8\n"


@pytest.mark.parametrize("row", [{"step": 2, "a": 3}, {"step": 2, "new": 3}], ids=["append", "rewrite"])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: dict[str, Any]) -> None:
    path = tmp_path / "t.csv"
    append_row(path, {"step": 1, "a": 2})
    real = Path.open

    def half(self: Path, mode: str = "r", **rest: Any) -> Any:
        file = real(self, mode, **rest)
        if mode == "r":
            return file
        file.write(b"2,")
        file.flush()
        file.close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", half)
    with pytest.raises(StorageError, match=r"could not append to .*t\.csv.*No space left"):
        append_row(path, row)
    monkeypatch.undo()
    assert path.read_text() == "step,a\n1,2\n"
    assert [child.name for child in tmp_path.iterdir()] == ["t.csv"]


def test_numbers_of_a_table_that_grows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    assert (last_number(path), numbers(path, "a")) == (0.0, [])
    for written, last, column in (
        ("step,a\n", 0.0, []),
        ("step,a\n32,0.5", 0.0, []),
        ("step,a\n32,0.5\n64,\n96,0.25\n128,0.", 96.0, [0.5, 0.25]),
        ("step,a\n" + "32,0.5\n" * 20_000 + "64,0.5\n", 64.0, [0.5] * 20_001),
    ):
        path.write_text(written)
        assert (last_number(path), numbers(path, "a")) == (last, column)
