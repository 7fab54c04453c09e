"""Whole files and folders, or none: the disk fails at every step, and a process is killed while it writes."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wdmoe_env.files import atomic
from wdmoe_env.files.atomic import replacing, tidy, write_bytes, write_folder, write_text

FULL = OSError(errno.ENOSPC, "No space left on device")
OLD, NEW = b"old", b"new content"


class Disk:
    """Counts what is asked of the disk, and fails once, at the wanted call of one kind."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str, after: int = 0) -> None:
        self.calls: list[str] = []
        self._step, self._after = step, after
        self._wrap(monkeypatch, Path, "open", "open")
        self._wrap(monkeypatch, os, "open", "open folder")
        self._wrap(monkeypatch, os, "replace", "rename")
        self._wrap(monkeypatch, Path, "mkdir", "mkdir")
        self._wrap(monkeypatch, os, "fsync", "flush")
        real = Path.write_bytes

        def write(path: Path, content: bytes) -> int:
            # Half of it still fits.
            real(path, content[: len(content) // 2])
            self._count("write")
            return real(path, content)

        monkeypatch.setattr(Path, "write_bytes", write)

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, step: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def call(*arguments: Any, **more: Any) -> Any:
            folder = step == "flush" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            self._count("flush folder" if folder else step)
            return real(*arguments, **more)

        monkeypatch.setattr(owner, name, call)

    def _count(self, step: str) -> None:
        self.calls.append(step)
        if step == self._step and self.calls.count(step) == self._after + 1:
            raise FULL


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("before", [None, OLD])
@pytest.mark.parametrize(
    ("step", "replaced"),
    [
        ("open", False),
        ("write", False),
        ("flush", False),
        ("rename", False),
        ("open folder", True),
        ("flush folder", True),
    ],
)
def test_a_file_is_whole_wherever_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, replaced: bool, before: bytes | None
) -> None:
    path = tmp_path / "result.json"
    if before is not None:
        path.write_bytes(before)
    with monkeypatch.context() as patch:
        disk = Disk(patch, step)
        with pytest.raises(OSError, match="No space left on device"):
            write_bytes(path, NEW)
        assert disk.calls[-1] == step
    expected = NEW if replaced else before
    assert names(tmp_path) == (["result.json"] if expected is not None else [])
    assert expected is None or path.read_bytes() == expected


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(
    ("step", "after"),
    [
        ("mkdir", 0),
        *[(step, after) for step in ("open", "write", "flush", "flush folder", "rename") for after in (0, 1)],
        ("open folder", 1),
    ],
)
def test_a_folder_is_as_it_was_wherever_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, after: int, before: bool
) -> None:
    folder = tmp_path / "best"
    if before:
        write_folder(folder, {"a": OLD, "gone": OLD})
    # Without a folder before there is one rename.
    after = 0 if step == "rename" and not before else after
    with monkeypatch.context() as patch:
        disk = Disk(patch, step, after)
        with pytest.raises(OSError, match="No space left on device"):
            write_folder(folder, {"a": NEW, "b": NEW})
        assert step in disk.calls
    assert names(tmp_path) == (["best"] if before else [])
    assert not before or {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": OLD, "gone": OLD}


def test_everything_is_flushed_before_and_its_name_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        disk = Disk(patch, "never")
        write_bytes(tmp_path / "a", NEW)
    kept = [call for call in disk.calls if call in ("write", "flush", "rename", "flush folder")]
    assert kept == ["write", "flush", "rename", "flush folder"]
    with monkeypatch.context() as patch:
        disk = Disk(patch, "never")
        write_folder(tmp_path / "b", {"c": NEW})
    kept = [call for call in disk.calls if call in ("write", "flush", "rename", "flush folder")]
    assert kept == ["write", "flush", "flush folder", "rename", "flush folder"]


def test_a_full_disk_for_real(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="no limits on files here")
    (tmp_path / "result.json").write_bytes(OLD)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_bytes(tmp_path / "result.json", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert names(tmp_path) == ["result.json"]
    assert (tmp_path / "result.json").read_bytes() == OLD


def test_file_systems_that_cannot_flush_a_folder_are_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a", "ü")
    assert (tmp_path / "a").read_bytes() == "ü".encode()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_refused_or_interrupted_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "a").write_bytes(OLD)

    def interrupted() -> None:
        with replacing(tmp_path / "a") as part:
            part.write_bytes(NEW)
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == OLD


@pytest.mark.slow
def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(OLD)
    code = (
        "import os, signal, sys; from pathlib import Path; from wdmoe_env.files import atomic\n"
        "atomic._flush = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "atomic.write_bytes(Path(sys.argv[1]), b'new')\n"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -9
    assert path.read_bytes() == OLD
    assert len(names(tmp_path)) == 2
    tidy(tmp_path)
    assert names(tmp_path) == ["a"]


def test_links_lead_to_what_is_written_and_devices_stay(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there/a")
    write_bytes(tmp_path / "link", NEW)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there/a").read_bytes() == NEW
    assert names(tmp_path / "there") == ["a"]
    # A part that is a link would let somebody else choose what is written to.
    (tmp_path / f".b.{os.getpid()}.part").symlink_to(tmp_path / "there/a")
    write_bytes(tmp_path / "b", OLD)
    assert (tmp_path / "there/a").read_bytes() == NEW
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, NEW)
    reader.join(timeout=10)
    assert found == [NEW]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_in_the_place_of_a_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match=r"Is a directory|Permission"):
        write_bytes(tmp_path / "a", NEW)
    assert names(tmp_path) == ["a"]


def test_two_writers_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    with replacing(path) as mine:
        mine.write_bytes(b"begun")
        monkeypatch.setattr(atomic.os, "getpid", lambda: 1)
        write_bytes(path, NEW)
        assert path.read_bytes() == NEW
        mine.write_bytes(b"begun and ended")
    assert path.read_bytes() == b"begun and ended"
    assert names(tmp_path) == ["a"]
