"""The commands of docs/tutorials/record-to-report.md, on measurements that are made here; only smaller."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorials" / "record-to-report.md"
STEP = re.compile(
    r"<!-- (?P<what>sequence|file: (?P<file>\S+)) -->\n(?:<!-- not run: [^\n]+\n)?```(?P<kind>\w+)\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
SMALLER = {
    "--trials 100": "--trials 20",
    "--timesteps 200000": "--timesteps 2048 --num-envs 16 --evaluate-episodes 2 "
    "--set rollout 512 batch_size 128 width 8",
    "--episodes 100": "--episodes 3",
    ".venv/bin/python": sys.executable,
    " train.py": f" {ROOT / 'train.py'} --wandb disabled",
    " evaluate.py": f" {ROOT / 'evaluate.py'}",
}


def steps():
    """Every step of the page's sequence: a file to write, or a program in sh or Python."""
    return [found.groupdict() for found in STEP.finditer(PAGE.read_text(encoding="utf-8"))]


def smaller(code):
    for long, short in SMALLER.items():
        code = code.replace(long, short)
    return code


def run(step, folder):
    command = ["bash", "-e", "-o", "pipefail"] if step["kind"] == "sh" else [sys.executable, "-"]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        input=smaller(step["code"]),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{step['code']}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_page_holds_every_command_that_is_made_smaller():
    text = "\n".join(step["code"] for step in steps())
    assert [long for long in SMALLER if long not in text] == []


@pytest.mark.slow
def test_documented_sequence_leads_from_record_to_report(tmp_path):
    pytest.importorskip("torch", reason="recording and training need torch")
    printed = ""
    for step in steps():
        if step["file"]:
            (tmp_path / step["file"]).write_text(step["code"], encoding="utf-8")
        else:
            printed += run(step, tmp_path)
    assert "my-board.csv: 140 valid rows" in printed
    assert "1 logs: 1 imported as 1 traces" in printed
    for name, policies in (("my-boards", 4), ("in-order", 3), ("walk", 3)):
        results = tmp_path / "results" / name
        assert (results / "report.html").stat().st_size > 1e5
        [scenario] = json.loads((results / "summary.json").read_text())["scenarios"].values()
        assert len(scenario["policies"]) == policies
