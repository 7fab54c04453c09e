from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from agents.files.run_dir import RunDir
from agents.plan.plan import Plan
from agents.training import one_run
from wdmoe_env.files.safe import StorageError
from wdmoe_env.files.tensors import load_folder, save_folder

Make = Callable[..., Plan]


@pytest.fixture(scope="module")
def all_finished() -> dict[str, Path]:
    return {}


def finished_run(
    all_finished: dict[str, Path], factory: Any, algorithm: str, make_plan: Make, console: Console
) -> Path:
    if algorithm not in all_finished:
        path = factory.mktemp("finished") / "run"
        one_run.start(make_plan(algorithm), path, console)
        all_finished[algorithm] = path
    return all_finished[algorithm]


@pytest.fixture
def finished(all_finished: dict[str, Path], tmp_path_factory: Any, make_plan: Make, console: Console) -> Path:
    """A finished run of PPO, to be copied and not to be changed."""
    return finished_run(all_finished, tmp_path_factory, "ppo", make_plan, console)


@pytest.fixture
def finished_sac(all_finished: dict[str, Path], tmp_path_factory: Any, make_plan: Make, console: Console) -> Path:
    return finished_run(all_finished, tmp_path_factory, "sac", make_plan, console)


def tampered(run: Path, tmp_path: Path, harm: Callable[[dict[str, torch.Tensor], Any], Any]) -> tuple[Path, Path]:
    """A copy of a run whose newest checkpoint was changed and sealed again: the run, and the checkpoint."""
    shutil.copytree(run, tmp_path / "run")
    folder = RunDir(tmp_path / "run").checkpoints()[-1]
    tensors, data = load_folder(folder, "state", 2**30)
    harm(tensors, data)
    save_folder(folder, "state", tensors, data)
    return tmp_path / "run", folder


def as_type(tensors: dict[str, torch.Tensor], name: str, dtype: torch.dtype) -> None:
    tensors[f"state.{name}"] = tensors[f"state.{name}"].to(dtype)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda t, d: t.pop("state.policy.log_std"), "does not fit this run"),
        (lambda t, d: d["state"]["policy"].pop("log_std"), "policy has no log_std"),
        (lambda t, d: t.update({"state.policy.log_std": torch.zeros(9)}), r"state\.policy\.log_std is \(9,\)"),
        (lambda t, d: t.update({"state.policy.log_std": torch.zeros(1, dtype=torch.int64)}), "int64"),
        (
            lambda t, d: t.update({"state.simulator.cell.gain": torch.zeros(1)}),
            r"simulator\.cell\.gain is \(1,\)",
        ),
        (lambda t, d: t.update({"state.random.torch": torch.zeros(3)}), "does not fit this run"),
        (lambda t, d: d["state"]["simulator"].update(rng={"bit_generator": "evil"}), "does not fit this run"),
        (lambda t, d: d.pop("rows"), "does not fit this run"),
        (lambda t, d: d.pop("scenario"), "a scenario is a NoneType"),
        (lambda t, d: d.update(state=5), "does not fit this run"),
        (lambda t, d: d["state"].update(policy=None), r"state\.policy is NoneType None, expected \d+ values"),
        (lambda t, d: d["state"].update(extra=1), "state has an unknown extra"),
        (lambda t, d: d["state"]["policy"]["log_std"].update(__tensor__=["x"]), "does not fit this run"),
        (lambda t, d: d["state"]["counters"].update(num_timesteps=True), r"counters\.num_timesteps is bool True"),
        (lambda t, d: d["state"]["counters"].update(num_timesteps=1e6), r"counters\.num_timesteps is float"),
        (lambda t, d: d["state"]["counters"].update(updates=-1), r"counters\.updates is -1, expected at least 0"),
        (lambda t, d: d["state"]["simulator"].update(step=10**30), r"simulator\.step is 10+, expected"),
        (lambda t, d: d["state"]["simulator"].update(step="1"), r"simulator\.step is str '1'"),
        (lambda t, d: as_type(t, "simulator.passes", torch.float64), r"simulator\.passes is .* torch.float64, exp"),
        (
            lambda t, d: t["state.simulator.passes"].fill_(99),
            r"does not fit this run: state\.passes holds 99, expected 0 to 3",
        ),
        (lambda t, d: as_type(t, "simulator.cell.heat", torch.float32), r"cell\.heat is .* torch.float32, exp"),
        (
            lambda t, d: as_type(t, "episode_starts", torch.int64),
            "episode_starts is .* torch.int64, expected .* torch.bool",
        ),
        (lambda t, d: as_type(t, "random.torch", torch.int64), r"random\.torch is .* torch.int64, expected"),
        (lambda t, d: as_type(t, "random.numpy.keys", torch.float32), r"random\.numpy\.keys is .* torch.float32"),
        (lambda t, d: t["state.random.torch"].fill_(255), "does not fit this run: .*mt19937"),
        (
            lambda t, d: d["state"]["random"]["numpy"]["rest"].__setitem__(0, 10**6),
            r"rest\[0\] is 1000000, expected at m",
        ),
        (lambda t, d: d["state"]["random"]["numpy"].update(kind="evil"), "does not fit this run"),
        (lambda t, d: d["state"]["random"]["python"]["numbers"].__setitem__(0, 2**70), "does not fit this run"),
        (lambda t, d: d["state"]["random"]["python"]["numbers"].pop(), "numbers is 624 values, expected 625 values"),
        (lambda t, d: d["state"]["random"]["actions"]["state"].update(state="x"), r"actions\.state\.state is str 'x'"),
        (lambda t, d: d["state"]["optimizers"]["policy"].pop("0"), r"state\.optimizers has no 0"),
        (lambda t, d: d["state"]["optimizers"]["policy"]["0"].pop("exp_avg"), r"optimizers\.0 has no exp_avg"),
        (lambda t, d: as_type(t, "optimizers.policy.0.exp_avg", torch.float64), r"0\.exp_avg is .* torch.float64, exp"),
        (lambda t, d: d["state"].pop("optimizers"), "does not fit this run"),
        (lambda t, d: d.update(best="0.5"), r"checkpoint\.best is str '0.5'"),
        (lambda t, d: d.update(best=10**400), r"checkpoint\.best is int 1000"),
        (lambda t, d: d.update(best=1e305), r"best is 1e\+305, expected a reward of at most 1e\+12"),
        (lambda t, d: d.update(next=[1]), r"checkpoint\.next is 1 values"),
        (lambda t, d: d["next"].update(evaluate=None), r"checkpoint\.next\.evaluate is NoneType"),
        (lambda t, d: d.update(finished=1), r"checkpoint\.finished is int 1, expected bool"),
        (lambda t, d: d["rows"].update({"metrics.csv": -1}), "rows are .*-1.*, expected at least 0"),
        (lambda t, d: d["rows"].update({"../../evil.csv": 1}), r"rows has an unknown \.\./\.\./evil"),
        (lambda t, d: d.update(wandb_id="../../evil"), "wandb_id is '../../evil', expected letters"),
        (lambda t, d: d.pop("wandb_id"), "does not fit this run: 'wandb_id'"),
        (lambda t, d: d["encodings"]["features"].pop(), r"encodings\.features had"),
    ],
)
def test_checkpoint_of_another_form(finished: Path, tmp_path: Path, console: Console, harm: Any, words: str) -> None:
    run, folder = tampered(finished, tmp_path, harm)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(StorageError, match=words) as caught:
        one_run.resume(run, console)
    assert str(folder) in str(caught.value)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (
            lambda t, d: d["state"]["buffer_position"].update(pos=10**6),
            "buffer_position.pos is 1000000, expected at most",
        ),
        (lambda t, d: d["state"]["buffer_position"].update(pos=-1), "buffer_position.pos is -1"),
        (lambda t, d: d["state"]["buffer_position"].update(pos=True), "buffer_position.pos is bool True"),
        (lambda t, d: d["state"]["buffer_position"].update(full=0), "buffer_position.full is int 0, expected bool"),
        (lambda t, d: d["state"].pop("buffer"), "does not fit this run"),
        (lambda t, d: d["state"]["buffer"].pop("dones"), "buffer has no dones"),
        (lambda t, d: as_type(t, "buffer.actions", torch.float64), r"buffer\.actions is .* torch.float64, expected"),
        (lambda t, d: as_type(t, "log_ent_coef", torch.float64), r"log_ent_coef is .* torch.float64, expected"),
        (lambda t, d: d["state"]["optimizers"].pop("critic"), "does not fit this run: 'critic'"),
    ],
)
def test_sac_checkpoint_of_another_form(
    finished_sac: Path, tmp_path: Path, console: Console, harm: Any, words: str
) -> None:
    run, folder = tampered(finished_sac, tmp_path, harm)
    with pytest.raises(StorageError, match=words) as caught:
        one_run.resume(run, console)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", ["policy.log_std", "simulator.cell.gain", "optimizers.policy.0.exp_avg"])
def test_checkpoint_with_nan(finished: Path, tmp_path: Path, console: Console, name: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("wdmoe_env.files.tensors._check_finite", lambda *_: None)
    run, folder = tampered(finished, tmp_path, lambda t, d: t[f"state.{name}"].fill_(float("nan")))
    monkeypatch.undo()
    expected = f"{name} holds values that are not finite; delete .*there is no older one"
    with pytest.raises(StorageError, match=expected) as caught:
        one_run.resume(run, console)
    assert str(folder) in str(caught.value)


def test_checkpoint_larger_than_the_run_can_make(finished: Path, tmp_path: Path, console: Console) -> None:
    run, folder = tampered(finished, tmp_path, lambda t, d: None)
    os.truncate(folder / "state.safetensors", 8 * 2**30)
    with pytest.raises(
        StorageError, match=r"state\.safetensors has 8,589,934,592 bytes, expected at most 1,\d{3},\d{3};"
    ):
        one_run.resume(run, console)


def test_config_that_is_no_regular_file(finished: Path, tmp_path: Path, console: Console) -> None:
    run, _ = tampered(finished, tmp_path, lambda t, d: None)
    os.replace(run / "config.json", tmp_path / "elsewhere.json")
    (run / "config.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(StorageError, match=r"config\.json is a symbolic link, expected a regular file"):
        one_run.resume(run, console)
