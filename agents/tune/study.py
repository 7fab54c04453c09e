"""The search for hyperparameters: a study in a journal file, whose trials are short training runs beside it.

NAME.log            the study: every trial, its hyperparameters and validation rewards
NAME/trial-0/ …     the trials' run directories, without checkpoints

The study can be continued, and is then what it would have been at once: what a trial tries depends on the study's seed
and on the trials that are finished, and a trial that was interrupted is tried again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from agents.files.run_dir import RunDir
from agents.plan.compatibility import scenario_difference
from agents.plan.plan import Plan, plan_from
from agents.training.divergence import DivergedError
from agents.training.trainer import Trainer
from agents.tune.apart import Apart
from agents.tune.space import first_try, rounded, search_space
from wdmoe_env.console.stop import Stop
from wdmoe_env.files.lock import locked
from wdmoe_env.files.safe import StorageError
from wdmoe_env.plugins import load_plugins
from wdmoe_env.settings.contents import FILES, kept_files
from wdmoe_env.workers import places

NAME, TASK = "tune", "plan"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(file: Path, plan: Plan) -> optuna.Study:
    """Open the study in a file, or begin it with the plan's own hyperparameters as the first that are tried.

    Raises:
        StorageError: the file is no study, or cannot be written.
        ValueError: the study is of another plan.
    """
    study = _load(file)
    if TASK not in study.user_attrs:
        task = plan.as_json()
        if kept := kept_files(task["scenario"], file.parent):
            task[FILES] = kept
        study.set_user_attr(TASK, json.loads(json.dumps(task)))
        study.enqueue_trial(first_try(search_space(plan.algorithm, plan.hyperparameters), plan.hyperparameters))
    elif difference := _difference(plan_from(study.user_attrs[TASK], file), plan):
        raise ValueError(f"study {file} is of another plan: {difference}; choose another file")
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        _put_back(study, trial)  # its process was killed
    return study


def search(
    file: Path, plan: Plan, trials: int, console: Console, jobs: int | None = None, on: str | None = None
) -> optuna.Study:
    """Go on with a study until `trials` of it are finished, `jobs` at a time, where `on` says.

    Raises:
        KeyboardInterrupt: asked to stop; the study is kept.
        PoolError: the place that `on` names cannot be had, or is lost; the study is kept.
        StorageError: another process searches with it; see `open_study`, too.
    """
    _make_folder(file)
    # A trial that runs is one of a killed process only as long as nobody else is at it.
    with locked(file, file):
        if on is None:
            return _search(file, plan, trials, console, jobs or 1)
        study = open_study(file, plan)
        with places.opened(on, jobs) as pool:
            left = range(len(study.get_trials(deepcopy=False, states=FINISHED)), trials)
            Apart(study, file.with_suffix(""), plan, pool, console).work(left)
        return _load(file)


def _search(file: Path, plan: Plan, trials: int, console: Console, jobs: int) -> optuna.Study:
    study = open_study(file, plan)
    numbers = range(len(study.get_trials(deepcopy=False, states=FINISHED)), trials)
    if jobs == 1 or len(numbers) < 2:
        work(file, plan, console, numbers)
        return _load(file)
    shares = [numbers[job::jobs] for job in range(min(jobs, len(numbers)))]
    with ProcessPoolExecutor(len(shares), get_context("spawn"), initializer=load_plugins) as pool:
        list(pool.map(partial(work, file, plan, None), shares))
    return _load(file)


def best_of(study: optuna.Study) -> tuple[int, dict[str, Any]]:
    """The number of the best trial, and the hyperparameters that it tried.

    Raises:
        ValueError: no trial came to its end.
    """
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        raise ValueError("no trial came to its end: all of them diverged")
    return study.best_trial.number, rounded(study.best_trial.params)


def work(file: Path, plan: Plan, console: Console | None, numbers: Sequence[int]) -> None:
    """Run as many trials as there are numbers, each of which decides what is tried; without a console, only say how."""
    study = _load(file)
    for number in numbers:
        seed = int(np.random.SeedSequence([plan.seed, number]).generate_state(1)[0])
        study.sampler = TPESampler(seed=seed)
        trial = study.ask(search_space(plan.algorithm, plan.hyperparameters))
        try:
            state, value = _outcome(trial, file.with_suffix(""), plan, console or Console(quiet=True))
        except BaseException:
            _put_back(study, study.trials[trial.number])
            raise
        study.tell(trial, value, state)
        shown = "pruned" if value is None else f"validation reward {value:.4f}"
        what = trial.user_attrs.get("diverged", shown)
        (console or Console(stderr=True)).print(
            f"trial {trial.number}: {what}; {rounded(trial.params)}", soft_wrap=True
        )


def _outcome(trial: optuna.Trial, folder: Path, plan: Plan, console: Console) -> tuple[TrialState, float | None]:
    """Train with what a trial tries; what diverges counts as pruned, because a failed trial would teach nothing."""
    run = RunDir(folder / f"trial-{trial.number}")

    def evaluated(steps: int, reward: float) -> None:
        trial.report(reward, steps // plan.evaluate_every)
        if trial.should_prune():
            raise optuna.TrialPruned

    tried = replace(plan, hyperparameters={**plan.hyperparameters, **rounded(trial.params)})
    try:
        trainer = Trainer(tried, run, console, evaluated)
        run.create(trainer.config())
        trainer.train(Stop())
    except optuna.TrialPruned:
        return TrialState.PRUNED, None
    except DivergedError as error:
        trial.set_user_attr("diverged", str(error))
        return TrialState.PRUNED, None
    finally:
        shutil.rmtree(run.path / "checkpoints", ignore_errors=True)
    return TrialState.COMPLETE, trainer.best


def _put_back(study: optuna.Study, trial: FrozenTrial) -> None:
    """Give up a trial that was interrupted, and let the next one try the same."""
    study.tell(trial.number, state=TrialState.FAIL)
    study.enqueue_trial(trial.params)


def _load(file: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _make_folder(file)
    try:
        storage = JournalStorage(JournalFileBackend(str(file)))
        # A trial is compared from its second evaluation on: before, nothing was learned.
        pruner = MedianPruner(n_startup_trials=5, n_warmup_steps=1)
        return optuna.create_study(
            storage=storage, study_name=NAME, direction="maximize", load_if_exists=True, pruner=pruner
        )
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise StorageError(f"{file} cannot be opened as a study: {error}") from error


def _make_folder(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{file} cannot be opened as a study: {error}") from error


def _difference(before: Plan, now: Plan) -> str | None:
    """The first setting in which two plans differ, in words."""
    if difference := scenario_difference(before.scenario, now.scenario):
        return f"scenario {difference}"
    for field in fields(Plan):
        was, is_now = getattr(before, field.name), getattr(now, field.name)
        if field.name != "scenario" and was != is_now:
            return f"{field.name.replace('_', '-')} was {was!r:.200}, and is {is_now!r:.200} here"
    return None
