"""Several seeds: what is asked for, what is refused, what lies where, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.run_files import assert_same_run, text

import train
from agents.files.run_dir import RunDir
from agents.plan.plan import Plan
from agents.training import one_run, seeds
from evaluation.episodes.contenders import find_contenders
from wdmoe_env.files.lock import locked
from wdmoe_env.files.safe import StorageError

Make = Callable[..., Plan]
Fake = Callable[[str], None]
ROOT = Path(train.__file__).parent
# The learning rate stays, so that a run may be shortened and is still the same.
SETTINGS = {"width": 8.0, "rollout": 32.0, "batch_size": 16.0, "learning_rate": 1e-3, "learning_rate_end": 1e-3}
OPTIONS = {"num_envs": 4, "wandb": "disabled", "evaluate_episodes": 2, "evaluate_every": 64, "checkpoint_every": 64}


def call(**options: Any) -> int:
    return train.main(train.Options(**{"wandb": "disabled", **options}))


@pytest.mark.parametrize(
    ("words", "expected"), [("3", [3]), ("0-4", [0, 1, 2, 3, 4]), ("0,2,5-7", [0, 2, 5, 6, 7]), (" 9 , 1-1", [9, 1])]
)
def test_seeds_in_words(words: str, expected: list[int]) -> None:
    assert seeds.parse_seeds(words) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seeds": ""}, "seeds is '', expected numbers and ranges such as 0-4 or 0,2,5-7"),
        ({"seeds": "4-1"}, "seeds is '4-1', expected numbers"),
        ({"seeds": "1;2"}, "seeds is '1;2', expected numbers"),
        ({"seeds": "-1"}, "seeds is '-1', expected numbers"),
        ({"seeds": "1,0-2"}, "seeds is '1,0-2', which names 1 twice"),
        ({"seeds": "0-4294967295"}, "expected at most 1,000 of them"),
        ({"seeds": "7,4294967296"}, "seed is 4294967296, expected a whole number from 0 to 4,294,967,295"),
        ({"seeds": "0-1", "seed": 0}, "--seed and --seeds are given, expected one of them"),
        ({"seeds": "0-1", "jobs": 0}, "jobs is 0, expected at least 1"),
        ({"seeds": "0-1", "scenario": "moon"}, "unknown scenario 'moon'"),
        ({"seeds": "0-1", "set": {"gama": 1.0}}, "unknown hyperparameter 'gama'"),
    ],
)
def test_bad_options_start_nothing(
    tmp_path: Path, tiny_file: Path, options: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(**{"scenario": str(tiny_file), "run_dir": tmp_path / "set", **options}) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert words in printed
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_cannot_be_built_leaves_nothing(make_plan: Make, tmp_path: Path, console: Console) -> None:
    with pytest.raises(ValueError):
        seeds.start(make_plan(settings={"ent_coef": "x"}), [0, 1], tmp_path / "set", console)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_stopped_and_resumed_as_processes(tmp_path: Path, tiny_file: Path, console: Console) -> None:
    folder, words = tmp_path / "set", [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    words += ["--scenario", str(tiny_file), "--timesteps", str(10**7), "--run-dir", str(folder), "--set"]
    words += [word for name, value in SETTINGS.items() for word in (name, str(value))]
    command = [sys.executable, "train.py", "--seeds", "3,5", "--jobs", "2", *words]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    found, until = [RunDir(folder / f"seed-{seed}") for seed in (3, 5)], time.monotonic() + 120
    while not all(run.checkpoints() for run in found):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)
    # As a scheduler does: to every process of the job at once, which the parent forwards besides.
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    for pid in (process.pid, *map(int, children)):
        os.kill(pid, signal.SIGTERM)
    printed = process.communicate(timeout=60)[1]
    assert process.returncode == 143, printed
    assert all("checkpoint saved" in (folder / f"logs/seed-{seed}.log").read_text() for seed in (3, 5))
    assert f"0 of 2 seeds are finished; go on with: python train.py --resume {folder}\n" in printed
    steps = max(run.steps() for run in found) + 64
    for run in found:
        assert int(run.checkpoints()[-1].name) == run.steps()
    for file in (folder / "seeds.json", *folder.glob("*/config.json")):
        file.write_text(file.read_text().replace('"timesteps": 10000000', f'"timesteps": {steps}'))
    assert call(resume=folder, scenario=str(tiny_file)) == 0
    options: dict[str, Any] = {**OPTIONS, "scenario": str(tiny_file), "set": SETTINGS, "timesteps": steps, "seed": 5}
    assert one_run.start(train._plan(train.Options(**options)), tmp_path / "alone", console) == 0
    assert_same_run(tmp_path / "alone", found[1].path)
    assert seeds.resume(folder, console) == 0
    assert text(console).count("is already finished") == 2
    assert find_contenders([str(folder)])[0].run_dirs == (folder / "seed-3", folder / "seed-5")


@pytest.mark.slow
def test_a_set_made_in_part_is_completed(make_plan: Make, tmp_path: Path, console: Console, fake: Fake) -> None:
    fake("")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / ".seeds.json.part").write_text("{")
    seeds.start(make_plan(), [0, 1], folder, console)
    made = (folder / "seed-1/config.json").read_text()
    os.replace(folder / "seed-1/config.json", folder / "seed-1/.config.json.part")
    (folder / "seed-0/config.json").unlink()
    (folder / "seed-0").rmdir()
    assert seeds.resume(folder, console) == 0
    assert (folder / "seed-1/config.json").read_text() == made
    assert json.loads((folder / "seed-0/config.json").read_text()) == {**json.loads(made), "seed": 0}
    with pytest.raises(StorageError, match=f"is already used: choose another, or go on with --resume {folder}"):
        seeds.start(make_plan(), [0, 1], folder, console)


@pytest.mark.slow
@pytest.mark.parametrize("found", [None, [], ["0"], [True]])
def test_broken_seeds(make_plan: Make, tmp_path: Path, console: Console, found: Any) -> None:
    (tmp_path / "seeds.json").write_text(json.dumps({**make_plan().as_json(), "seeds": found}))
    with pytest.raises(StorageError, match=r"seeds\.json is broken: seeds is .*, expected a list of numbers"):
        seeds.resume(tmp_path, console)


@pytest.mark.slow
def test_two_processes_do_not_train_in_one_place(make_plan: Make, tmp_path: Path, console: Console, fake: Fake) -> None:
    fake("")
    folder = tmp_path / "set"
    seeds.start(make_plan(), [0], folder, console)
    with locked(folder / "seeds.json"), pytest.raises(StorageError, match="set is in use by another process"):
        seeds.resume(folder, console)
    with locked(folder / "seed-0/config.json"), pytest.raises(StorageError, match="seed-0 is in use by another"):
        one_run.resume(folder / "seed-0", console)
    assert one_run.resume(folder / "seed-0", console) == 0
    assert "seed-0 holds no checkpoint: training starts at its first step" in text(console)
