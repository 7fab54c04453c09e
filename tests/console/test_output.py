"""Output that cannot be printed, and lists of paths that hold commas."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wdmoe_env.console.output import printing
from wdmoe_env.console.words import words

PRINTS = (
    "import sys; from wdmoe_env.console.output import printing, tolerate_locale\n"
    "tolerate_locale()\n"
    "with printing():\n    print('5 \u00b5s \u65f6\u5ef6' + ' ' * int(sys.argv[1]))\n"
    "print('went on', file=sys.stderr)\n"
)


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "latin-1", "utf-8"])
def test_what_a_locale_lacks_is_replaced(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINTS, "0"], env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"went on\n")
    assert done.stdout == "5 \u00b5s \u65f6\u5ef6".encode(encoding, "replace") + b"\n"


@pytest.mark.parametrize("size", [0, 10**6])
def test_who_reads_no_more_stops_nothing(size: int) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", PRINTS, str(size)], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"went on\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_behind_the_output_stops_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", PRINTS, "0"], stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"went on\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_is_left_and_what_follows_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with printing():
            print("lost")
        print("lost as well", flush=True)
        assert os.readlink(f"/proc/self/fd/{full.fileno()}") == os.devnull


def test_paths_keep_their_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lr=0.001,batch=64", "a", "a,b", "a,b,c", "x, y"):
        (tmp_path / name).mkdir()
    assert words("top-k,price") == ["top-k", "price"]
    assert words(f"top-k,lr=0.001,batch=64, {tmp_path}/lr=0.001,batch=64,price") == [
        "top-k", "lr=0.001,batch=64", f"{tmp_path}/lr=0.001,batch=64", "price",
    ]  # fmt: skip
    # The longest that exists.
    assert words("a,b,c,d") == ["a,b,c", "d"]
    assert words("mine=a,b,other=x, y") == ["mine=a,b", "other=x, y"]
    assert words("a,c") == ["a", "c"]
    assert words(" , top-k,, ") == ["top-k"]
