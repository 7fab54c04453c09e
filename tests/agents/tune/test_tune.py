from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from rich.console import Console
from support.run_files import table, text

from agents.plan.hyperparameters import hyperparameters
from agents.plan.plan import Plan
from agents.training import one_run, trainer
from agents.tune import __main__ as tune
from agents.tune import space, study
from agents.tune.retrain import StoppedError, comparison, retrain, snippet
from agents.tune.study import best_of, search
from wdmoe_env.files.lock import locked
from wdmoe_env.files.safe import StorageError

Make = Callable[..., Plan]
TINY: dict[Any, dict[str, Any]] = {
    "ppo": {
        "learning_rate": FloatDistribution(1e-3, 1e-1, log=True),
        "rollout": CategoricalDistribution((32, 64)),
        "n_epochs": IntDistribution(1, 3),
    },
    "sac": {"learning_rate": FloatDistribution(1e-4, 1e-2, log=True), "ent_coef": CategoricalDistribution(("auto_1",))},
}


@pytest.fixture(autouse=True)
def small_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "SPACE", TINY)
    monkeypatch.setattr(space, "MEMORYLESS", {"ppo": {}, "sac": {}})


def tried(found: optuna.Study) -> list[tuple[Any, ...]]:
    """What was tried and what came of it, of the trials that are finished, in their order."""
    finished = found.get_trials(states=study.FINISHED)
    return [(trial.params, trial.value, trial.intermediate_values, trial.state) for trial in finished]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_study(make_plan: Make, tmp_path: Path, console: Console, algorithm: str) -> None:
    plan = replace(make_plan(algorithm), timesteps=64)
    study = search(tmp_path / "deep/study.log", plan, 2, console)
    first, second = study.trials
    assert first.params == {name: plan.hyperparameters[name] for name in TINY[algorithm]}
    assert second.params["learning_rate"] != first.params["learning_rate"]
    for trial in study.trials:
        run = tmp_path / f"deep/study/trial-{trial.number}"
        rewards = [float(row["reward"]) for row in table(run / "evaluations.csv")]
        assert trial.state == TrialState.COMPLETE
        assert trial.value == max(rewards)
        assert list(trial.intermediate_values.values()) == rewards
        settings = json.loads((run / "config.json").read_text())["hyperparameters"]
        assert settings == {**plan.hyperparameters, **space.rounded(trial.params)}
        assert not (run / "checkpoints").exists()
    assert f"trial 1: validation reward {second.value:.4f}" in text(console)
    lines = [json.loads(line) for line in (tmp_path / "deep/study.log").read_text().splitlines()]
    assert json.loads(json.dumps(plan.as_json())) in [line.get("user_attr", {}).get("plan") for line in lines]


@pytest.mark.slow
def test_continued_equals_at_once(make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any) -> None:
    plan, real = make_plan(), trainer.Trainer._chunk
    at_once = search(tmp_path / "one.log", plan, 4, console)
    search(tmp_path / "other.log", plan, 2, console)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Trainer, "_chunk", interrupt)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "other.log", plan, 4, console)
    monkeypatch.setattr(trainer.Trainer, "_chunk", real)
    killed = study._load(tmp_path / "other.log").ask()  # as if its process had died
    continued = search(tmp_path / "other.log", plan, 4, console)
    assert tried(continued) == tried(at_once)
    assert [trial.number for trial in continued.get_trials(states=(TrialState.FAIL,))] == [2, killed.number]
    assert len(search(tmp_path / "other.log", plan, 3, console).trials) == len(continued.trials)


@pytest.mark.slow
def test_diverging_trials_are_pruned(make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any) -> None:
    calls, real = iter(range(100)), trainer.Trainer._chunk

    def diverge(self: trainer.Trainer) -> None:
        if next(calls) == 0:
            with torch.no_grad():
                next(iter(self.model.policy.parameters())).fill_(float("nan"))
        real(self)

    monkeypatch.setattr(trainer.Trainer, "_chunk", diverge)
    study = search(tmp_path / "study.log", make_plan(), 2, console)
    assert [trial.state for trial in study.trials] == [TrialState.PRUNED, TrialState.COMPLETE]
    assert study.trials[0].user_attrs["diverged"].startswith("training diverged before")
    assert "trial 0: training diverged" in text(console)
    assert best_of(study)[0] == 1


def test_no_trial_comes_to_its_end(make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any) -> None:
    def diverge(*_: Any) -> None:
        raise study.DivergedError("training diverged")

    monkeypatch.setattr(trainer.Trainer, "_chunk", diverge)
    with pytest.raises(ValueError, match="all of them diverged"):
        best_of(search(tmp_path / "study.log", make_plan(), 1, console))


@pytest.mark.slow
def test_worse_trials_are_pruned(make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any) -> None:
    reward = {"trial-5": 0.5}
    monkeypatch.setattr(trainer, "validate", lambda policy, _: {"reward": reward.get(policy.name, 1.0)})
    study = search(tmp_path / "study.log", make_plan(timesteps=64), 6, console)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 5 + [TrialState.PRUNED]
    assert len(study.trials[5].intermediate_values) == 2
    assert "trial 5: pruned" in text(console)


def test_jobs_share_the_trials(make_plan: Make, tmp_path: Path, console: Console, monkeypatch: Any) -> None:
    class Pool:
        def __init__(self, workers: int, context: Any, initializer: Any) -> None:
            assert (workers, context.get_start_method()) == (2, "spawn")

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None: ...

        def map(self, work: Any, shares: Any) -> Any:
            assert [list(share) for share in shares] == [[0, 2], [1]]
            return map(work, shares)

    monkeypatch.setattr(study, "ProcessPoolExecutor", Pool)
    found = search(tmp_path / "study.log", make_plan(timesteps=32), 3, console, jobs=2)
    assert len(tried(found)) == 3
    assert len({str(trial.params) for trial in found.trials}) == 3


@pytest.mark.slow
def test_foreign_studies(make_plan: Make, tmp_path: Path, console: Console) -> None:
    plan, file = make_plan(timesteps=32), tmp_path / "study.log"
    search(file, plan, 1, console)
    with pytest.raises(ValueError, match=r"study.log is of another plan: timesteps was 32, and is 64 here; choose"):
        search(file, replace(plan, timesteps=64), 1, console)
    (tmp_path / "text.log").write_text("a shopping list\nmilk\n")
    with pytest.raises(StorageError, match=r"text.log cannot be opened as a study"):
        search(tmp_path / "text.log", plan, 1, console)
    with pytest.raises(StorageError, match=r"below/study.log cannot be opened as a study"):
        search(tmp_path / "text.log/below/study.log", plan, 1, console)


@pytest.mark.slow
def test_retraining(make_plan: Make, tmp_path: Path, console: Console, stop_after: Any, monkeypatch: Any) -> None:
    plan = make_plan()
    stop_after(2)
    with pytest.raises(StoppedError) as stopped:
        retrain(plan, [7, 8], tmp_path, console)
    assert stopped.value.status == 130
    monkeypatch.undo()
    found = retrain(plan, [7, 8], tmp_path, console)
    best = [max(float(row["reward"]) for row in table(tmp_path / f"seed-{seed}/evaluations.csv")) for seed in (7, 8)]
    assert list(found.rewards) == best
    printed = Console(file=console.file, width=100)
    printed.print(comparison({"present": found}, [7, 8]))
    assert f"present         │ {best[0]:.4f} │ {best[1]:.4f} │ {sum(best) / 2:.4f}" in text(console)
    with pytest.raises(ValueError, match="seed-7 holds a run of another plan"):
        retrain(replace(plan, num_envs=8), [7], tmp_path, console)


def test_snippet_brings_the_hyperparameters_back(make_plan: Make) -> None:
    plan = make_plan(settings={"learning_rate": 3e-05, "n_epochs": 7, "width": 64})
    section = yaml.safe_load(snippet(plan))["scenarios"]["tiny"]
    assert section["learning_rate"] == 3e-05
    assert "clip_range" not in section
    assert hyperparameters("ppo", None, **section) == plan.hyperparameters


def call(tmp_path: Path, tiny_file: Path, **options: Any) -> int:
    # As many cells as make a rollout of the present hyperparameters short.
    small = {"timesteps": 64, "num_envs": 512, "evaluate_episodes": 2, "retrain_timesteps": 128, "retrain_seeds": "7"}
    study = tmp_path / "study.log"
    return tune.main(tune.Options(**{"scenario": str(tiny_file), "study": study, "trials": 2, **small, **options}))


@pytest.mark.slow
def test_command_line(tmp_path: Path, tiny_file: Path, capsys: Any, monkeypatch: Any) -> None:
    rewards = iter([1.0] * 3 + [2.0] * 3)
    monkeypatch.setattr("agents.tune.study.Trainer._evaluate", lambda self: setattr(self, "best", next(rewards, 2.0)))
    monkeypatch.setattr(one_run, "start", lambda plan, path, console: _pretend(plan, path))
    assert call(tmp_path, tiny_file) == 0
    printed = capsys.readouterr().out
    assert "│ present         │ 1.0000 │" in printed
    assert "│ trial-1         │ 7.0000 │" in printed
    assert "for agents/hyperparameters/ppo.yaml:\nscenarios:\n  tiny:\n    learning_rate: " in printed
    assert yaml.safe_load(printed[printed.index("scenarios:") :])["scenarios"]["tiny"]["learning_rate"] != 3e-3


def _pretend(plan: Plan, path: Path) -> int:
    """A run whose reward tells whether it was trained with other hyperparameters than the present ones."""
    other = plan.hyperparameters != hyperparameters("ppo", None)
    assert (plan.timesteps, plan.seed, plan.evaluate_every) == (128, 7, 12)
    path.mkdir(parents=True)
    (path / "evaluations.csv").write_text(f"timesteps,reward\n0,0.5\n128,{7.0 if other else 1.0}\n")
    return 0


@pytest.mark.slow
def test_nothing_better_was_found(tmp_path: Path, tiny_file: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(one_run, "start", lambda *_: 1 / 0)
    assert call(tmp_path, tiny_file, trials=1) == 0
    assert "no trial was better than the present hyperparameters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trials": 0}, "trials is 0, expected at least 1"),
        ({"jobs": -1}, "jobs is -1, expected at least 1"),
        ({"retrain_seeds": "9-7"}, "seeds is '9-7', expected numbers and ranges such as 0-4"),
        ({"retrain_seeds": "a"}, "seeds is 'a', expected numbers and ranges"),
        ({"retrain_seeds": "0-2"}, "expected seeds other than the search's own"),
        ({"timesteps": 0}, "timesteps is 0, expected a whole number from 1 to"),
        ({"scenario": "moon"}, "unknown scenario 'moon'"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str, tmp_path: Path, tiny_file: Path, capsys: Any) -> None:
    assert call(tmp_path, tiny_file, **options) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert words in printed
    assert not (tmp_path / "study.log").exists()


def test_interrupted(tmp_path: Path, tiny_file: Path, capsys: Any, monkeypatch: Any) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Trainer, "_chunk", interrupt)
    assert call(tmp_path, tiny_file) == 130
    assert "interrupted; the study is kept" in capsys.readouterr().err
    assert (tmp_path / "study.log").stat().st_size > 0


def test_without_optuna(tmp_path: Path, tiny_file: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.delitem(sys.modules, "agents.tune.study")
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert call(tmp_path, tiny_file) == 2
    assert capsys.readouterr().err == "error: tuning needs optuna: pip install -e '.[train,tune]'\n"


def test_another_process_that_searches_with_a_study_is_left_alone(
    make_plan: Make, tmp_path: Path, console: Console
) -> None:
    file = tmp_path / "study.log"
    plan = replace(make_plan(), timesteps=64)
    running = study.open_study(file, plan)
    trial = running.ask(space.search_space(plan.algorithm, plan.hyperparameters))
    with locked(file), pytest.raises(StorageError, match=r"study.log is in use by another process"):
        search(file, plan, 2, console)
    assert running.trials[trial.number].state == TrialState.RUNNING
