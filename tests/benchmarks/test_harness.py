"""What benchmarks share; and every script in `benchmarks/` starts in both ways, and prints JSON rows."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from benchmarks import harness

from agents.plan.hyperparameters import hyperparameters
from agents.policies import shipped

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(p.stem for p in (ROOT / "benchmarks").glob("*.py") if '__name__ == "__main__"' in p.read_text("utf-8"))
SMALL: dict[str, str] = {
    "bandwidth": "--devices 2 3 --batch 8 --sample 2 --repeats 1",
    "baseline_options": "--scenario {tiny} --episodes 2",
    "cluster": "--nodes 1 --units 2 --sleep-s 0.1 --runs 1 --timesteps 256",
    "decision_time": "--scenario {tiny} --policies top-k,price --decisions 3",
    "decode": "--shapes mixtral --tokens 2 --states 2 --exact 1",
    "env_throughput": "--scenario {tiny} --seconds 0.001 --repeats 1",
    "explorer_steps": "--scenarios paper --steps 2 --no-browser",
    "features": "--run {run} --episodes 2",
    "fuzz": "--cases 30 --kinds decisions actions",
    "gate_statistics": "--family uniform --passes 4",
    "joint": "--scenarios {tiny} --steps 2 --batch 2 --repeats 1 --seconds 0",
    "mass_floor": "--states 50",
    "random_cells": "--cells 1 --steps 1",
    "rendering": "--scenarios {tiny} --frames 2 --repeats 1",
    "room": "--scenario {tiny} --episodes 2 --lookahead-episodes 0",
    "testbed_faults": "--faults 2 --devices 2 --deadline 0.5",
    "testbed_fuzz": "--frames 60",
    "testbed_overhead": "--tokens 4 --hidden 16 --layers 5",
    "train_throughput": "--scenario {tiny} --num-envs 4 --repeats 1",
    "transfer": "--policies top-k --devices 4 --episodes 2 --bound-steps 2",
}
"""Options that make each script quick."""
ELSEWHERE = {"kill_and_resume", "loss_against_mass", "testbed_prediction"}
"""Scripts whose own tests run them with --json."""
QUICK = hyperparameters("ppo", "paper", width=8, rollout=32, batch_size=16, n_epochs=1)


@dataclass(frozen=True)
class Options(harness.Options):
    count: int = 2


@dataclass(frozen=True)
class Row:
    number: int
    ends: tuple[float, float] = (0.5, 1.5)


def rows(options: Options) -> None:
    with harness.Report(options, ("number", "low\nend"), title="Numbers") as report:
        for number in range(options.count):
            report.add(Row(number), [f"{number}", "0.5"])
        report.note("that was all")
        report.note("so many", {"total": options.count})


def test_rows_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert harness.command(rows, Options, None, ["--count", "1", "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == [{"number": 0, "ends": [0.5, 1.5]}, {"total": 1}]


def test_rows_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert harness.command(rows, Options, None, []) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "Numbers"
    assert [line for line in lines if "0.5" in line] == ["│ 0      │ 0.5 │", "│ 1      │ 0.5 │"]
    assert lines[-2:] == ["that was all", "so many"]


def test_a_fault_is_one_line_and_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    def main(options: Options) -> None:
        with harness.Report(options, ("number",)):
            raise ValueError("count is 2,\n  expected 3")

    assert harness.command(main, Options, None, []) == 2
    assert capsys.readouterr() == ("", "error: count is 2, expected 3\n")


def test_one_thread_while_it_runs() -> None:
    def main(options: Options) -> int:
        np.ones((8, 8)) @ np.ones((8, 8))
        return max(library["num_threads"] for library in threadpool_info())

    assert harness.command(main, Options, None, [], one_thread=True) == 1


@pytest.mark.parametrize(("limit_s", "expected"), [(1e9, 3.0), (0.5, 1.0), (2.5, 2.0)])
def test_the_first_run_warms_up_and_counts_only_alone(limit_s: float, expected: float) -> None:
    """Runs take 1, 2, 3 and 4 seconds."""
    ticks = (float(at) for start, length in zip((0, 10, 20, 30), count(1)) for at in (start, start + length))
    assert harness.median_seconds(lambda: None, 3, limit_s, lambda: next(ticks)) == expected


@pytest.fixture
def arguments(request: pytest.FixtureRequest, tiny_file: Path, tmp_path: Path) -> list[str]:
    """A script's options that make it quick."""
    if "{run}" in (options := SMALL[request.param]):
        shutil.copytree(shipped.FOLDER / "paper-ppo", tmp_path / "run" / "best")
    return options.format(tiny=tiny_file, run=tmp_path / "run").split()


def test_every_script_is_tried() -> None:
    assert SMALL.keys() | ELSEWHERE == set(SCRIPTS)


@pytest.mark.slow
@pytest.mark.parametrize(("script", "arguments"), [(name, name) for name in SMALL], indirect=["arguments"])
def test_every_script_prints_rows_as_json(
    script: str, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module(f"benchmarks.{script}")
    if script == "train_throughput":
        monkeypatch.setattr(module, "hyperparameters", lambda *_: QUICK)
    assert harness.command(module.main, module.Options, module.__doc__, [*arguments, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows
    assert all(isinstance(row, dict) for row in rows)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_finds_the_project_through_benchmarks_first(script: str) -> None:
    """As a file it has only its own folder on the path; `benchmarks.py` there mends that when it is imported."""
    tree = ast.parse((ROOT / "benchmarks" / f"{script}.py").read_text("utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [getattr(node, "module", None) or node.names[0].name for node in imports]
    ours = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert next(name for name in names if name.split(".")[0] in ours) == "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("way", [["-m", "benchmarks.joint"], ["benchmarks/joint.py"]], ids=["module", "file"])
def test_a_script_starts_as_a_module_and_as_a_file(way: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, *way, "--help"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout
