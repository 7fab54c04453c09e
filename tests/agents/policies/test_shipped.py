from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro

import agents
from agents.files.run_dir import EVALUATIONS, RunDir
from agents.policies import ship, shipped
from agents.policies.trained import _network, save_policy
from wdmoe_env import Policy, Scenario, Simulator, load_scenario
from wdmoe_env.files.safe import StorageError
from wdmoe_env.files.tensors import load_folder

MakeRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of that which comes with the project."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "shelf")
    return tmp_path / "shelf"


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Leave what `train.py` leaves, without training."""

    def make(
        name: str, scenario: Scenario | str = "paper", algorithm: Any = "ppo", rewards: Any = (1.0, 2.0), **changes: Any
    ) -> Path:
        scenario, run = load_scenario(scenario), RunDir(tmp_path / name)
        width = changes.pop("width", 8)
        config = {"algorithm": algorithm, "timesteps": 100, "seed": 7, "command": f"python train.py --{name}"}
        run.create({**config, "git_revision": "abc", **changes})
        save_policy(run.path / "best", algorithm, _network(algorithm, width, scenario), width, scenario)
        for index, reward in enumerate(rewards):
            run.append(EVALUATIONS, {"timesteps": 100 * index // max(len(rewards) - 1, 1), "reward": reward})
        return run.path

    return make


def put(*runs: Path) -> int:
    return ship.main(ship.Options(runs))


@pytest.mark.slow
def test_chosen_by_settings_not_by_name(make_run: MakeRun) -> None:
    assert put(make_run("a"), make_run("b", "cell-64")) == 0
    policy = agents.pretrained("ppo")
    assert isinstance(policy, Policy)
    assert policy.name == "ppo"
    for preset, name in (("paper", "cell-64"), ("cell-64", "paper")):
        scenario = load_scenario(preset, name=name, gating={"bank_passes": load_scenario(preset).gating.bank_passes})
        policy.reset(scenario, 2)
        assert policy._chosen is not None
        assert policy._chosen.scenario.name == preset


@pytest.mark.slow
def test_decides_as_the_run_does(make_run: MakeRun) -> None:
    run, paper = make_run("run"), load_scenario("paper")
    put(run)
    one, other = agents.pretrained("ppo"), agents.load(run)
    simulator = Simulator(paper, 2)
    observation = simulator.reset(0)
    for policy in (one, other):
        policy.reset(paper, 2)
    np.testing.assert_array_equal(one.decide(observation).selection, other.decide(observation).selection)
    simulator.step(one.decide(observation))


@pytest.mark.slow
def test_none_fits(make_run: MakeRun, tiny: Scenario) -> None:
    with pytest.raises(ValueError, match=r"no pretrained sac policy has the settings of 'tiny': there are none$"):
        agents.pretrained("sac", transfer=True).reset(tiny, 1)
    put(make_run("a"), make_run("b", "cell-64"))
    with pytest.raises(ValueError, match=r"there are those of cell-64, paper; with transfer that of paper runs all"):
        agents.pretrained("ppo").reset(tiny, 1)
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        agents.pretrained("ppo").decide(Simulator(tiny).reset(0))
    with pytest.raises(ValueError, match="algorithm is 'dqn', expected one of ppo, sac"):
        agents.pretrained("dqn")  # type: ignore[arg-type]


@pytest.mark.slow
def test_transfer_takes_paper(make_run: MakeRun, tiny: Scenario) -> None:
    put(make_run("a"), make_run("b", "cell-64"))
    policy, simulator = agents.pretrained("ppo", transfer=True), Simulator(tiny, 2)
    policy.reset(tiny, 2)
    assert policy._chosen is not None
    assert policy._chosen.scenario.name == "paper"
    simulator.step(policy.decide(simulator.reset(0)))


def test_broken_file_is_named(make_run: MakeRun, shelf: Path, tiny: Scenario) -> None:
    put(make_run("a"))
    (shelf / "paper-ppo/policy.json").write_text("{")
    with pytest.raises(StorageError, match=r"paper-ppo/policy\.json is broken"):
        agents.pretrained("ppo").reset(tiny, 1)


@pytest.mark.slow
def test_best_validation_reward_is_shipped(make_run: MakeRun, shelf: Path, capsys: Any) -> None:
    rewards = {"seed-0": (1.0, 1.5), "seed-1": (2.5, 2.0), "seed-2": (2.4, 2.4)}
    runs = [make_run(f"set/{name}", rewards=values) for name, values in rewards.items()]
    sac = make_run("sac", algorithm="sac", width=64)
    assert put(runs[0].parent, sac) == 0
    said = capsys.readouterr().out
    assert "seed-1, validation reward 2.5000" in said
    assert sorted(path.name for path in shelf.iterdir()) == ["paper-ppo", "paper-sac"]
    _, data = load_folder(shelf / "paper-ppo", "policy", 2**20)
    assert data["command"] == "python train.py --set/seed-1"
    assert (data["git_revision"], data["seed"], data["validation_reward"]) == ("abc", 7, 2.5)
    size = sum(path.stat().st_size for path in (shelf / "paper-sac").iterdir())
    assert f"paper-sac: {size:,} bytes" in said
    assert size < ship.MAX_SHIPPED_BYTES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"timesteps": 101}, "is not finished: go on with python train.py --resume"),
        ({"rewards": ()}, "is not finished"),
        ({"timesteps": "many"}, r"evaluations\.csv is broken"),
        ({"rewards": (1.0, "x")}, r"evaluations\.csv is broken"),
        ({"rewards": (float("nan"), 1.0)}, "holds rewards that are not finite"),
        (
            {"scenario": load_scenario("paper", name="mine")},
            "was trained in 'mine', expected the settings of a preset$",
        ),
        ({"scenario": load_scenario("paper", reward={"penalty": 1.0})}, r"of a preset: reward\.penalty was 1\.0"),
        ({"width": 160}, "bytes of weights, expected at most 250,000"),
    ],
)
def test_what_cannot_be_shipped(make_run: MakeRun, shelf: Path, capsys: Any, changes: Any, words: str) -> None:
    assert put(make_run("run", **changes)) == 2
    capsys.readouterr()
    with pytest.raises(StorageError, match=words):
        ship.ship(ship.candidate(shelf.parent / "run"))
    assert not shelf.exists()


def test_no_run(tmp_path: Path, capsys: Any) -> None:
    assert put(tmp_path / "nothing") == 2
    assert "nothing/config.json cannot be read" in capsys.readouterr().err
    assert put() == 2
    assert "expected at least one run directory" in capsys.readouterr().err


def test_command_line() -> None:
    options = tyro.cli(ship.Options, args=["runs/a", "runs/b"])
    assert options.run_dirs == (Path("runs/a"), Path("runs/b"))


@pytest.mark.slow
def test_policies_that_come_with_the_project_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    folders = list(shipped.FOLDER.glob("*-*/"))
    for folder in folders:
        preset, _, algorithm = folder.name.rpartition("-")
        policy: Any = agents.pretrained(algorithm)  # type: ignore[arg-type]
        policy.reset(load_scenario(preset), 1)
        assert json.loads((folder / "policy.json").read_text())["command"].startswith("python train.py")
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) < 2_000_000
