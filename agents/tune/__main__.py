"""Search for better hyperparameters. See `python -m agents.tune --help`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console

from wdmoe_env.console.output import tolerate_locale

if TYPE_CHECKING:
    import optuna

    from agents.plan.plan import Plan


@dataclass(frozen=True)
class Options:
    """Search hyperparameters by the reward on validation episodes, and retrain with the best; Ctrl-C keeps the study.

    The same command again goes on where it was.
    """

    algo: Literal["ppo", "sac"] = "ppo"
    """Algorithm."""
    scenario: str = "paper"
    """Preset, or path of a YAML file."""
    trials: int = 20
    """Trials that the study has in the end, those of earlier calls included."""
    timesteps: int = 300_000
    """Environment steps of a trial."""
    num_envs: int = 256
    """Cells that are simulated side by side."""
    evaluate_episodes: int = 32
    """Validation episodes in each evaluation."""
    warm_start: Literal["none", "price"] = "none"
    """What the actor imitates before it learns."""
    seed: int = 0
    """Seed of the search, and of the training in every trial."""
    study: Path | None = None
    """File of the study, a new one or one to go on with; default: runs/tune/SCENARIO-ALGO.log."""
    jobs: int | None = None
    """Trials that run at a time, each in a process of its own; with more than one, what is tried depends on timing.
    Default: 1, and with --on one for each core there."""
    on: str | None = None
    """Where trials run, if not here: ray, a cluster of this machine or the one that RAY_ADDRESS names; or
    ray://HOST:PORT. The study stays here, and so does the training at the end."""
    retrain_seeds: str = "100-102"
    """Seeds, FIRST-LAST, that the best trial and the present hyperparameters are trained with at the end."""
    retrain_timesteps: int = 1_000_000
    """Environment steps of that training."""
    plugins: str = ""
    """Modules, separated by commas, that register path losses, gating families or compute models of one's own."""


def main(options: Options) -> int:
    """Search, retrain, and return the exit status."""
    tolerate_locale()
    console = Console(stderr=True)
    try:
        from wdmoe_env.files.safe import StorageError
        from wdmoe_env.workers.units import PoolError, UnitError

        try:
            return _run(options, console)
        except (ValueError, StorageError, PoolError, UnitError, OSError) as error:
            console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        console.print("error: tuning needs optuna: pip install -e '.[train,tune]'", markup=False, soft_wrap=True)
    except KeyboardInterrupt:
        console.print("interrupted; the study is kept: the same command goes on with it", soft_wrap=True)
        return 130
    return 2


def _run(options: Options, console: Console) -> int:
    from agents.tune.retrain import StoppedError
    from agents.tune.study import search
    from wdmoe_env.plugins import load_plugins

    load_plugins(options.plugins)
    for name in ("trials", "jobs"):
        if (given := getattr(options, name)) is not None and given < 1:
            raise ValueError(f"{name} is {getattr(options, name)}, expected at least 1")
    seeds, plan = _seeds(options), _plan(options)
    full = replace(plan, timesteps=options.retrain_timesteps, evaluate_every=max(options.retrain_timesteps // 10, 1))
    file = options.study or Path("runs/tune") / f"{plan.scenario.name}-{options.algo}.log"
    study = search(file, plan, options.trials, console, options.jobs, options.on)
    try:
        return _retrain(study, full, seeds, file.with_suffix("") / "retrained", console)
    except StoppedError as error:
        return error.status


def _retrain(study: optuna.Study, plan: Plan, seeds: list[int], folder: Path, console: Console) -> int:
    from agents.tune.retrain import comparison, retrain, snippet
    from agents.tune.study import best_of

    number, found = best_of(study)
    tuned = replace(plan, hyperparameters={**plan.hyperparameters, **found})
    plans = {"present": plan, f"trial-{number}": tuned}
    if tuned == plan:
        console.print("no trial was better than the present hyperparameters; nothing to retrain")
        return 0
    rows = {name: retrain(one, seeds, folder / name, console) for name, one in plans.items()}
    out = Console()
    out.print(comparison(rows, seeds))
    out.print(f"for agents/hyperparameters/{plan.algorithm}.yaml:", snippet(tuned), sep="\n", markup=False, end="")
    return 0


def _seeds(options: Options) -> list[int]:
    from agents.training.seeds import parse_seeds

    seeds = parse_seeds(options.retrain_seeds)
    if options.seed in seeds:
        raise ValueError(f"retrain-seeds is {options.retrain_seeds!r}, expected seeds other than the search's own")
    return seeds


def _plan(options: Options) -> Plan:
    """What a trial is asked to do, with the present hyperparameters."""
    from agents.plan.hyperparameters import hyperparameters, section_of
    from agents.plan.plan import Plan
    from wdmoe_env import load_scenario

    scenario = load_scenario(options.scenario)
    return Plan(
        algorithm=options.algo,
        scenario=scenario,
        hyperparameters=hyperparameters(options.algo, section_of(options.algo, scenario), options.warm_start),
        timesteps=options.timesteps,
        num_envs=options.num_envs,
        seed=options.seed,
        wandb="disabled",
        evaluate_every=max(options.timesteps // 10, 1),
        evaluate_episodes=options.evaluate_episodes,
        warm_start=options.warm_start,
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
