"""A study whose trials run elsewhere: what the study is told, and what becomes of trials that are lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from rich.console import Console
from support.run_files import text

from agents.plan.plan import Plan
from agents.training.divergence import DivergedError
from agents.training.trainer import Trainer
from agents.tune import study
from agents.tune.apart import Apart
from agents.tune.trials import Outcome, run_trial, settings_of
from wdmoe_env.workers.carried import carried
from wdmoe_env.workers.units import Event, Failure, PoolError, Shared, Unit, UnitError

Make = Callable[..., Plan]


class Asked:
    """A line whose answer is always the same."""

    def __init__(self, prune: bool) -> None:
        self.prune, self.asked = prune, list[Any]()

    def tell(self, message: Any) -> None:
        raise AssertionError

    def ask(self, message: Any) -> Any:
        self.asked.append(message)
        return self.prune

    def stop(self) -> str | None:
        return None


@pytest.mark.slow
def test_a_trial_asks_after_each_evaluation_and_brings_its_files(make_plan: Make) -> None:
    plan = make_plan(timesteps=64)
    there, scenario = Asked(prune=False), carried(plan.scenario, near=True)
    outcome = run_trial(there, scenario, settings_of(plan), "trial-0")
    assert [steps for steps, _ in there.asked] == [0, 32, 64]
    assert outcome.value == max(reward for _, reward in there.asked)
    assert set(outcome.files) == {"evaluations.csv", "metrics.csv", "best/policy.json", "best/policy.safetensors"}
    pruned = run_trial(Asked(prune=True), scenario, settings_of(plan), "trial-0")
    assert (pruned.value, pruned.diverged) == (None, None)


def test_a_trial_that_diverges_says_how(make_plan: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(self: Trainer, stop: Any) -> int:
        raise DivergedError("it is infinite")

    monkeypatch.setattr(Trainer, "train", diverge)
    plan = make_plan()
    outcome = run_trial(Asked(False), carried(plan.scenario, near=True), settings_of(plan), "trial-0")
    assert (outcome.value, outcome.diverged) == (None, "it is infinite")


class Scripted:
    """A pool in which what happens is written down before."""

    near = True

    def __init__(self, size: int, *events: list[Event]) -> None:
        self.size, self._events = size, list(events)
        self.started, self.answers = list[str](), list[Any]()

    def share(self, value: Any) -> Shared:
        return Shared(0)

    def start(self, unit: Unit) -> None:
        self.started.append(unit.name)

    def events(self, timeout_s: float) -> list[Event]:
        return self._events.pop(0)

    def answer(self, unit: str, reply: Any) -> None:
        self.answers.append(reply)


def done(name: str, value: float | None, diverged: str | None = None) -> Event:
    return Event(name, "done", Outcome(value, diverged, {"metrics.csv": b"timesteps\n"}))


def test_the_study_is_told_and_a_lost_trial_is_tried_again(make_plan: Make, tmp_path: Path, console: Console) -> None:
    plan = make_plan()
    opened = study.open_study(tmp_path / "study.log", plan)
    pool = Scripted(
        2,
        [Event("trial-0", "asked", (0, 1.0)), Event("trial-1", "lost")],
        [done("trial-0", 2.0)],
        [done("trial-2", None)],
        [done("trial-3", None, "it is infinite")],
    )
    Apart(opened, tmp_path / "study", plan, pool, console).work(range(3))
    assert pool.started == ["trial-0", "trial-1", "trial-2", "trial-3"]
    assert pool.answers == [False]
    trials = opened.get_trials(deepcopy=False)
    states = [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, TrialState.PRUNED]
    assert [trial.state for trial in trials] == states
    assert trials[1].params == trials[2].params
    assert (tmp_path / "study" / "trial-0" / "metrics.csv").exists()
    printed = text(console)
    assert "trial 0: validation reward 2.0000" in printed
    assert "trial 1: its process is lost; the same is tried again" in printed
    assert "trial 3: it is infinite" in printed


def test_what_nobody_foresaw_ends_the_search_and_the_trial_is_tried_again(
    make_plan: Make, tmp_path: Path, console: Console
) -> None:
    opened = study.open_study(tmp_path / "study.log", plan := make_plan())
    pool = Scripted(1, [Event("trial-0", "failed", Failure(None, "T: x", "node n"))])
    with pytest.raises(UnitError, match="trial-0 failed on node n"):
        Apart(opened, tmp_path / "study", plan, pool, console).work(range(3))
    assert [trial.state for trial in opened.trials] == [TrialState.FAIL, TrialState.WAITING]
    pool = Scripted(1, *[[Event(f"trial-{number}", "lost")] for number in (1, 2, 3)])
    with pytest.raises(PoolError, match="3 trials were lost"):
        Apart(opened, tmp_path / "study", plan, pool, console).work(range(3))
