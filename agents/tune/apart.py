"""A study whose trials run in a pool; what is tried, and when it is given up, is decided here."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from rich.console import Console

from agents.files.run_dir import RunDir
from agents.plan.plan import Plan
from agents.training import moving
from agents.tune.space import rounded, search_space
from agents.tune.trials import Outcome, run_trial, settings_of
from wdmoe_env.files.provenance import git_revision, versions
from wdmoe_env.workers.carried import carried
from wdmoe_env.workers.units import TRIES, Event, Pool, PoolError, Unit

LOOK_S = 1.0


class Apart:
    """Trials of a study, as many at a time as the pool has room for.

    Args:
        study: what is searched.
        folder: where the trials' run directories are kept.
        plan: what a trial is asked to do, with the present hyperparameters.
        pool: where trials run.
        console: where each trial's end is told.
    """

    def __init__(self, study: optuna.Study, folder: Path, plan: Plan, pool: Pool, console: Console) -> None:
        self._study, self._folder, self._plan, self._pool, self._console = study, folder, plan, pool, console
        self._scenario = pool.share(carried(plan.scenario, pool.near))
        self._running: dict[str, tuple[optuna.Trial, int]] = {}
        self._waiting = deque[int]()
        self._lost = 0

    def work(self, numbers: range) -> None:
        """Run as many trials as there are numbers, each of which decides what is tried.

        Raises:
            PoolError: the pool is lost, or trials are lost again and again.
            UnitError: a trial failed in a way that nobody foresaw.
        """
        self._waiting.extend(numbers)
        try:
            self._fill()
            while self._running:
                for event in self._pool.events(LOOK_S):
                    self._see(event)
                self._fill()
        finally:
            # Whatever ends the search: what was not finished is tried again when it goes on.
            for trial, _ in self._running.values():
                self._give_up(trial)

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._pool.size:
            number = self._waiting.popleft()
            seed = int(np.random.SeedSequence([self._plan.seed, number]).generate_state(1)[0])
            self._study.sampler = TPESampler(seed=seed)
            trial = self._study.ask(search_space(self._plan.algorithm, self._plan.hyperparameters))
            name = f"trial-{trial.number}"
            self._running[name] = trial, number
            hyperparameters = {**self._plan.hyperparameters, **rounded(trial.params)}
            plan = replace(self._plan, hyperparameters=hyperparameters)
            made = {**plan.as_json(), "versions": versions(), "git_revision": git_revision()}
            RunDir(self._folder / name).create(made)
            self._pool.start(Unit(name, run_trial, (self._scenario, settings_of(plan), name), talks=True))

    def _see(self, event: Event) -> None:
        trial, number = self._running[event.unit]
        if event.kind == "asked":
            steps, reward = event.value
            trial.report(reward, steps // self._plan.evaluate_every)
            self._pool.answer(event.unit, trial.should_prune())
        elif event.kind == "done":
            del self._running[event.unit]
            self._end(trial, event.value)
        elif event.kind == "failed":
            raise event.value.raised(event.unit, ())
        elif event.kind == "lost":
            self._lose(event.unit, trial, number)

    def _end(self, trial: optuna.Trial, outcome: Outcome) -> None:
        moving.write(self._folder / f"trial-{trial.number}", outcome.files)
        shown = "pruned" if outcome.value is None else f"validation reward {outcome.value:.4f}"
        if outcome.diverged is not None:
            trial.set_user_attr("diverged", shown := outcome.diverged)
        state = TrialState.PRUNED if outcome.value is None else TrialState.COMPLETE
        self._study.tell(trial, outcome.value, state)
        self._console.print(f"trial {trial.number}: {shown}; {rounded(trial.params)}", soft_wrap=True)

    def _lose(self, name: str, trial: optuna.Trial, number: int) -> None:
        """Try the same again, as another trial."""
        del self._running[name]
        self._lost += 1
        self._give_up(trial)
        self._waiting.appendleft(number)
        if self._lost == TRIES * max(self._pool.size, 1):
            raise PoolError(f"{self._lost} trials were lost: whatever runs them dies, perhaps of memory")
        self._console.print(f"trial {trial.number}: its process is lost; the same is tried again", soft_wrap=True)

    def _give_up(self, trial: optuna.Trial) -> None:
        self._study.tell(trial, state=TrialState.FAIL)
        self._study.enqueue_trial(trial.params)
