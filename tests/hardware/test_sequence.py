"""The commands of docs/tutorials/record-to-report.md, on measurements that are made here; only smaller."""

import json
import sys

import pytest
from support.sequence import ROOT, played, steps

PAGE = ROOT / "docs" / "tutorials" / "record-to-report.md"
SMALLER = {
    "--trials 100": "--trials 20",
    "--timesteps 200000": "--timesteps 2048 --num-envs 16 --evaluate-episodes 2 "
    "--set rollout 512 batch_size 128 width 8",
    "--episodes 100": "--episodes 3",
    ".venv/bin/python": sys.executable,
    " train.py": f" {ROOT / 'train.py'} --wandb disabled",
    " evaluate.py": f" {ROOT / 'evaluate.py'}",
}


def test_page_holds_every_command_that_is_made_smaller():
    text = "\n".join(step["code"] for step in steps(PAGE))
    assert [long for long in SMALLER if long not in text] == []


@pytest.mark.slow
def test_documented_sequence_leads_from_record_to_report(tmp_path):
    pytest.importorskip("torch", reason="recording and training need torch")
    printed = "".join(said for _, said in played(PAGE, tmp_path, SMALLER))
    assert "my-board.csv: 140 valid rows" in printed
    assert "1 logs: 1 imported as 1 traces" in printed
    for name, policies in (("my-boards", 4), ("in-order", 3), ("walk", 3)):
        results = tmp_path / "results" / name
        assert (results / "report.html").stat().st_size > 1e5
        [scenario] = json.loads((results / "summary.json").read_text())["scenarios"].values()
        assert len(scenario["policies"]) == policies
