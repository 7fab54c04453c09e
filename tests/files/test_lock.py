"""A run directory is trained in by one process at a time, and a process that is killed lets go of it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agents.files.run_dir import RunDir
from wdmoe_env.files.lock import lock_of, locked
from wdmoe_env.files.safe import StorageError

HOLD = (
    "import sys; from pathlib import Path; from wdmoe_env.files.lock import locked\n"
    "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    RunDir(tmp_path / "run").create({"seed": 1})
    return tmp_path / "run/config.json"


@pytest.mark.slow
def test_another_process_is_told_until_the_first_is_killed(config: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, config], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(StorageError, match="run is in use by another process: wait for it, or end it first"),
            locked(config),
        ):
            pytest.fail("two hold it")
    finally:
        holder.kill()
        holder.communicate()
    with locked(config):
        assert RunDir(config.parent).config() == {"seed": 1}


def test_errors_within_are_not_the_lock_s(config: Path) -> None:
    with pytest.raises(OSError, match="mine"), locked(config):
        raise OSError("mine")
    with locked(config):
        pass


def test_a_lock_that_is_left_over_is_no_run(config: Path) -> None:
    with locked(config):
        pass
    config.unlink()
    assert [path.name for path in config.parent.iterdir()] == [lock_of(config).name]
    RunDir(config.parent).check_unused()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_no_reason_not_to_train(
    config: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="locks of another kind here")

    def flock(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    entered = False
    with locked(config):
        entered = True
    assert entered
