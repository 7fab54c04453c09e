from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from support.run_files import text

from agents.files import tracking
from agents.files.tracking import NoTracker, TrackingError, start_run
from agents.plan.plan import Plan
from agents.training import one_run
from agents.training.trainer import Trainer
from baselines.validation import MEANS

Make = Callable[..., Plan]


class FakeRun:
    def __init__(self, options: dict[str, Any]) -> None:
        self.options, self.logged, self.artifacts = options, [], []  # type: ignore[var-annotated]
        self.id = options["id"] or "abc123"
        self.dir, self.exit_code = str(options["dir"]) + "/wandb/offline-run-1-abc123/files", None
        self.settings = SimpleNamespace(mode=options["mode"])
        Path(self.dir).mkdir(parents=True, exist_ok=True)

    def define_metric(self, *names: str, **options: str) -> None:
        self.logged.append((names, options))

    def log(self, values: dict[str, Any]) -> None:
        json.dumps(values)
        self.logged.append(values)

    def log_artifact(self, artifact: Any) -> None:
        self.artifacts.append(artifact)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code  # type: ignore[assignment]


class FakeArtifact:
    def __init__(self, name: str, type: str) -> None:
        self.name, self.type, self.paths = name, type, []  # type: ignore[var-annotated]

    def add_dir(self, path: str) -> None:
        self.paths.append(path)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """A stand-in for wandb; the runs that were started."""
    made: list[FakeRun] = []

    def init(**options: Any) -> FakeRun:
        made.append(FakeRun(options))
        return made[-1]

    module = SimpleNamespace(
        init=init, setup=lambda _: None, Settings=SimpleNamespace, Artifact=FakeArtifact, Error=ConnectionError
    )
    monkeypatch.setitem(sys.modules, "wandb", module)
    return made


@pytest.mark.slow
def test_disabled_needs_no_wandb(make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert isinstance(start_run("disabled", print, config={}, run_dir=tmp_path, job_type="train"), NoTracker)
    assert one_run.start(make_plan(timesteps=32), tmp_path / "run", console) == 0
    assert not (tmp_path / "run/wandb").exists()


def test_missing_wandb_is_named_and_leaves_no_directory(
    make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any
) -> None:
    real = builtins.__import__

    def importing(name: str, *rest: Any) -> Any:
        if name == "wandb":
            raise ModuleNotFoundError("No module named 'wandb'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(TrackingError, match="pip install wandb, or choose --wandb disabled"):
        one_run.start(replace(make_plan(), wandb="offline"), tmp_path / "run", console)
    assert not (tmp_path / "run").exists()


def test_failed_login_is_one_line(wandb: Any, tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(**_: Any) -> None:
        raise ConnectionError("No API key configured.\nmore")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    with pytest.raises(TrackingError, match=r"did not start: No API key configured\. Run `wandb login`") as caught:
        start_run("online", print, config={}, run_dir=tmp_path, job_type="train")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_is_logged(wandb: list[FakeRun], make_plan: Make, tmp_path: Path, console: Console) -> None:
    plan = replace(make_plan(), wandb="offline")
    one_run.start(plan, tmp_path / "my run", console)
    (run,) = wandb
    assert run.options["config"]["hyperparameters"] == plan.hyperparameters
    assert run.options["config"]["scenario"]["name"] == "tiny"
    assert {"versions", "git_revision", "seed", "algorithm"} <= set(run.options["config"])
    assert (run.options["name"], run.options["job_type"], run.options["resume"]) == ("my run", "train", None)
    assert run.logged[:2] == [(("timesteps",), {}), (("*",), {"step_metric": "timesteps"})]
    logged = run.logged[2:]
    training = [values for values in logged if "rollout/reward" in values]
    validation = [values for values in logged if "validation/reward" in values]
    assert [values["timesteps"] for values in training] == [32, 64, 96, 128]
    assert [values["timesteps"] for values in validation] == [0, 32, 64, 96, 128]
    for values in training:
        assert {f"rollout/{name}" for name in MEANS} <= set(values)
        assert {"train/loss", "train/learning_rate", "time/steps_per_second"} <= set(values)
    for values in validation:
        assert {f"validation/{name}" for name in (*MEANS, "latency_ms")} <= set(values)
    (artifact,) = run.artifacts
    assert (artifact.name, artifact.type, artifact.paths) == ("policy-my-run", "model", [str(tmp_path / "my run/best")])
    assert run.exit_code == 0
    assert "logged offline; to upload: wandb sync '" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_resume_goes_on_with_the_same_run(
    wandb: list[FakeRun], make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any
) -> None:
    real = Trainer._chunk

    def fails(self: Any) -> None:
        real(self)
        if self.steps == 96:
            raise RuntimeError("lost")

    monkeypatch.setattr(Trainer, "_chunk", fails)
    with pytest.raises(RuntimeError):
        one_run.start(replace(make_plan(checkpoint_every=32), wandb="offline"), tmp_path / "run", console)
    monkeypatch.setattr(Trainer, "_chunk", real)
    one_run.resume(tmp_path / "run", console)
    assert wandb[0].exit_code == 1
    assert (wandb[1].options["id"], wandb[1].options["resume"]) == ("abc123", "allow")
    assert [v["timesteps"] for v in wandb[1].logged[2:] if "rollout/reward" in v] == [96, 128]


@pytest.mark.slow
def test_offline_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    run_dir = tmp_path / "a run"
    (run_dir / "best").mkdir(parents=True)
    (run_dir / "best/policy.json").write_text("{}")
    commands, first = [], None
    for step in (1, 2):
        run = tracking.start_run(
            "offline", print, config={"a": 1}, run_dir=run_dir, job_type="train", run_id=first, name="a run"
        )
        assert run.run_id is not None
        assert first in (None, run.run_id)
        first = run.run_id
        run.log({"reward": 1.0}, step)
        run.artifact(run_dir / "best", "policy-a run", "model")
        commands.append(run.finish())
    folders = sorted((run_dir / "wandb").glob(f"offline-run-*-{first}"))
    assert commands[0] == f"wandb sync '{folders[0]}'"
    assert commands[1] == " ".join(["wandb sync", *(f"'{folder}'" for folder in folders)])
    assert capfd.readouterr().err == ""


class Failing:
    """A tracker that does nothing but fail."""

    run_id = "x"

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> None:
            raise FileNotFoundError(2, f"staging of {name}")

        return fail


def test_what_fails_once_logging_has_started_is_told_once_and_undoes_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    guarded = tracking.Guarded(Failing(), told.append)
    for step in range(3):
        guarded.log({"a": 1.0}, step)
    guarded.table("t", ["a"], [[1]])
    guarded.images({"p": tmp_path})
    guarded.artifact(tmp_path, "policy-x", "model")
    assert guarded.finish() is None
    assert len(told) == 5
    assert told[0] == "Weights & Biases did not log numbers: [Errno 2] staging of log; nothing else is lost"
    assert "artifact policy-x" in told[3]


@pytest.mark.slow
def test_a_home_that_cannot_be_written_to_costs_the_artifact_alone(
    make_plan: Any, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc/nohome")
    assert one_run.start(replace(make_plan(), wandb="offline"), tmp_path / "run", console) == 0
    printed = text(console)
    assert "warning: Weights & Biases did not log artifact policy-run" in printed
    assert "finished after" in printed
