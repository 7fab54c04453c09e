from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from support.saved import DATA, TENSORS, assert_intact

from agents.files.storage import StorageError, save_folder, tidy


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("after", [0, 1])
def test_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: int) -> None:
    calls, real = iter(range(100)), getattr(os, call)

    def fails(*arguments: Any) -> Any:
        if next(calls) == after:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(StorageError, match=r"could not save .*No space left on device.*saved before is intact"):
        save_folder(folder, "policy", {"z": torch.zeros(1)}, {})
    monkeypatch.undo()
    assert_intact(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_full_disk_for_real(folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    part = folder.with_name(".best.part")
    with pytest.MonkeyPatch.context() as patch:
        real = Path.open
        patch.setattr(Path, "open", lambda path, *rest: real(Path("/dev/full"), *rest) if path.parent == part else 0)
        with pytest.raises(StorageError, match="No space left on device"):
            save_folder(folder, "policy", TENSORS, DATA)
    assert_intact(folder)


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"could not save .*Not a directory"):
        save_folder(tmp_path / "file" / "best", "policy", TENSORS, DATA)


def test_killed_between_the_two_renames(folder: Path) -> None:
    os.replace(folder, folder.with_name(".best.old"))
    shutil.copytree(folder.with_name(".best.old"), folder.with_name(".best.part"))
    assert_intact(folder)
    tidy(folder.parent)
    assert [path.name for path in folder.parent.iterdir()] == ["best"]
    assert_intact(folder)


def test_killed_after_the_renames_or_while_writing(folder: Path) -> None:
    shutil.copytree(folder, folder.with_name(".best.old"))
    folder.with_name(".best.part").mkdir()
    folder.with_name(".best.part").joinpath("policy.json").write_text("{")
    assert_intact(folder)
    save_folder(folder, "policy", TENSORS, DATA)
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_read_while_it_is_replaced(folder: Path) -> None:
    done, saves = threading.Event(), 0

    def write() -> None:
        nonlocal saves
        while not done.is_set():
            save_folder(folder, "policy", TENSORS, DATA)
            saves += 1

    with ThreadPoolExecutor(1) as pool:
        writer, reads = pool.submit(write), 0
        try:
            while not writer.done() and (reads < 100 or saves < 3):
                assert_intact(folder)
                reads += 1
        finally:
            done.set()
    writer.result()  # raises what was raised while it wrote
    assert reads >= 100
