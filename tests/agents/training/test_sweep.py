"""A sweep: what a file asks for, faults that are told all at once, and runs as they would be alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.run_files import assert_same_run, text

import train
from agents.files.run_dir import RunDir
from agents.plan.plan import Plan
from agents.training import sweep
from wdmoe_env.files.safe import StorageError
from wdmoe_env.workers.processes import LocalPool

Make = Callable[..., Plan]
OPTIONS = {"num_envs": 4, "wandb": "disabled", "evaluate_episodes": 2, "evaluate_every": 64, "timesteps": 64}
SET = {"width": 8.0, "rollout": 32.0, "batch_size": 16.0, "n_epochs": 1.0}


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(content: str) -> Path:
        path = tmp_path / "file" / "sweep.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return path

    return write


def call(**options: Any) -> int:
    return train.main(train.Options(**{**OPTIONS, "set": SET, **options}))


def test_a_grid_is_every_combination_and_a_list_is_itself(file: Callable[[str], Path], make_plan: Make) -> None:
    plan = make_plan()
    grid = sweep.read_sweep(file("grid: {algo: [ppo, sac], set.width: [8, 16]}"), lambda _: plan)
    assert list(grid.settings) == [f"algo-{a}_set.width-{w}" for a in ("ppo", "sac") for w in (8, 16)]
    listed = sweep.read_sweep(file("list: [{seed: 1}, {scenario: a/cell.yaml, seed: 2}]"), lambda _: plan)
    assert listed.settings == {"seed-1": {"seed": 1}, "scenario-cell_seed-2": {"scenario": "a/cell.yaml", "seed": 2}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", ["holds nothing, expected one of grid, list"]),
        ("grid: {seed: [1]}\nlist: []", ["holds grid, list, expected one"]),
        ("grid: 3", ["grid is 3, expected a mapping of options to lists"]),
        ("grid: {seed: 1, algo: []}", ["seed is 1; algo is [], expected lists of values"]),
        ("list: {seed: 1}", ["expected a list of mappings"]),
        ("list: []", ["asks for 0 runs, expected 1 to 10,000"]),
        ("grid: {seed: [1, 1]}", ["seed-1 stands twice"]),
        (
            "grid: {sede: [1, 2], algo: [ppo, dqn], set.width: [x], timesteps: [0]}",
            ["unknown option 'sede', expected one of algo, scenario", "set.width is 'x', expected a number"],
        ),
        (
            "list: [{algo: dqn}, {timesteps: 0}, {scenario: moon}, {set.gama: 1}, {jobs: 2}, {set.rollout: true}]",
            [
                "has 6 faults, nothing was started",
                "algo is 'dqn', expected one of ppo, sac (first in algo-dqn)",
                "timesteps is 0",
                "unknown scenario 'moon'",
                "unknown hyperparameter 'gama'",
                "unknown option 'jobs'",
                "set.rollout is True, expected a number",
            ],
        ),
    ],
)
def test_all_faults_are_told_and_nothing_starts(
    file: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, words: list[str]
) -> None:
    assert call(sweep=file(content), run_dir=tmp_path / "runs") == 2
    printed = capsys.readouterr().err
    assert [word for word in words if word not in printed] == [], printed
    assert not (tmp_path / "runs").exists()


def test_too_many_runs_are_refused_before_they_are_listed(file: Callable[[str], Path], make_plan: Make) -> None:
    numbers = ", ".join(map(str, range(30)))
    grid = file(f"grid: {{seed: [{numbers}], timesteps: [{numbers}], num-envs: [{numbers}]}}")
    with pytest.raises(ValueError, match="asks for 27,000 runs, expected at most 10,000"):
        sweep.read_sweep(grid, lambda _: make_plan())


def test_seeds_and_on_need_what_they_are_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(sweep=tmp_path / "no.yaml", seeds="0-1") == 2
    assert "--seeds and --sweep are given, expected one of them" in capsys.readouterr().err
    assert call(on="ray", run_dir=tmp_path / "run") == 2
    assert "--on ray is for several runs" in capsys.readouterr().err


@pytest.mark.slow
def test_runs_of_a_sweep_are_those_that_they_are_alone(
    file: Callable[[str], Path], tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"scenario": str(tiny_file)}
    path = tmp_path / "swept"
    assert call(**asked, sweep=file("grid: {seed: [3, 4]}"), run_dir=path, jobs=2) == 0
    assert call(**asked, seed=4, run_dir=tmp_path / "alone") == 0
    assert_same_run(path / "seed-4", tmp_path / "alone")
    assert json.loads((path / "sweep.json").read_text())["runs"] == {"seed-3": {"seed": 3}, "seed-4": {"seed": 4}}
    assert call(resume=path) == 0
    assert "training 0 of 2 runs" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_in_a_pool_and_one_that_is_broken(
    file: Callable[[str], Path], make_plan: Make, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "place", lambda on, jobs: LocalPool(1))
    found = sweep.read_sweep(file("list: [{seed: 5}]"), lambda _: make_plan(timesteps=32))
    assert sweep.start(found, tmp_path / "swept", console, "python train.py", on="ray") == 0
    assert RunDir(tmp_path / "swept" / "seed-5").finished()
    assert "1 of 1 runs are finished" in text(console)
    (tmp_path / "swept" / "sweep.json").write_text('{"runs": {"../x": {}}}')
    with pytest.raises(StorageError, match=r"sweep.json is broken: runs is"):
        sweep.resume(tmp_path / "swept", console)
