"""A run that is killed with SIGKILL leaves nothing unreadable, and ends as one that was left alone."""

from pathlib import Path

import pytest

from benchmarks import kill_and_resume


@pytest.mark.parametrize("algo", ["ppo"])
def test_killed_twice(algo: str, tiny_file: Path, tmp_path: Path) -> None:
    *kills, end = kill_and_resume.torture(algo, str(tiny_file), kills=2, seed=1, updates=20, folder=tmp_path)
    assert [(row["kill"], row["readable"]) for row in kills] == [(1, True), (2, True)]
    assert all(0 < row["checkpoint"] <= row["steps"] for row in kills)
    assert end == {"same": True}
