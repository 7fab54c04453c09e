"""A run that is killed with SIGKILL leaves nothing unreadable, and ends as one that was left alone."""

import json
from pathlib import Path

import pytest

from benchmarks import harness, kill_and_resume


@pytest.mark.slow
def test_killed_twice(tiny_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = f"--algo ppo --scenario {tiny_file} --kills 2 --seed 1 --updates 20 --json".split()
    assert harness.command(kill_and_resume.main, kill_and_resume.Options, None, options) == 0
    *kills, end = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["kill"], row["readable"]) for row in kills] == [(1, True), (2, True)]
    assert all(0 < row["checkpoint"] <= row["steps"] for row in kills)
    assert end == {"algo": "ppo", "same": True}
