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

from wdmoe_env.files.atomic import tidy
from wdmoe_env.files.safe import StorageError
from wdmoe_env.files.tensors import save_folder


def test_a_full_disk_is_a_clear_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"could not save .*No space left on device.*saved before is intact"):
        save_folder(folder, "policy", {"z": torch.zeros(1)}, {})
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
