"""The commands of docs/tutorials/first-hour.md lead from a picture to a policy and an agent in a cell of one's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.sequence import ROOT, played, steps

PAGE = ROOT / "docs" / "tutorials" / "first-hour.md"
SMALLER = {
    ".venv/bin/wdmoe train": f"{sys.executable} -m wdmoe_env train --wandb disabled --evaluate-episodes 2 "
    "--set rollout 512 batch_size 128 width 8",
    ".venv/bin/wdmoe": f"{sys.executable} -m wdmoe_env",
    "--episodes 20": "--episodes 3",
    "--bound-steps 20": "--bound-steps 2",
    "--timesteps 60000 --num-envs 64": "--timesteps 2048 --num-envs 16",
}


def test_the_page_holds_every_command_that_is_made_smaller() -> None:
    text = "\n".join(step["code"] for step in steps(PAGE))
    assert [long for long in SMALLER if long not in text] == []


@pytest.mark.slow
def test_the_commands_of_the_first_hour_do_what_the_page_says(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3", reason="training needs Stable-Baselines3")
    for _ in played(PAGE, tmp_path, SMALLER, timeout=300.0):
        pass
    for picture in ("first.png", "my-cell.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    for name, policies in (("first", 4), ("my-cell", 4), ("my-policy", 3), ("agent", 4)):
        [scenario] = json.loads((tmp_path / "results" / name / "summary.json").read_text())["scenarios"].values()
        assert len(scenario["policies"]) == policies
        assert (tmp_path / "results" / name / "report.html").is_file()
