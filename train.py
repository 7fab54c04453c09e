"""Train a policy with PPO or SAC. See `python train.py --help`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console

if TYPE_CHECKING:
    from agents.plan import Plan


@dataclass(frozen=True)
class Options:
    """Train an agent on a scenario; Ctrl-C and SIGTERM save a checkpoint first."""

    algo: Literal["ppo", "sac"] = "ppo"
    """Algorithm."""
    scenario: str | None = None
    """Preset, or path of a YAML file; default: paper."""
    timesteps: int = 1_000_000
    """Environment steps to train for, all environments together; the last update is finished."""
    num_envs: int = 256
    """Cells that are simulated side by side."""
    seed: int = 0
    """Seed of the cells, the network's weights and the exploration."""
    wandb: Literal["offline", "online", "disabled"] = "offline"
    """Where to log: offline keeps the log in the run directory and prints the command that uploads it."""
    run_dir: Path | None = None
    """New directory for the run; default: runs/SCENARIO-ALGO-SEED-TIME."""
    resume: Path | None = None
    """Go on with the run in this directory, as it was started; other options are not looked at."""
    evaluate_every: int = 100_000
    """Steps between evaluations on validation episodes."""
    evaluate_episodes: int = 32
    """Validation episodes in each evaluation."""
    checkpoint_every: int = 250_000
    """Steps between checkpoints."""
    warm_start: Literal["none", "price"] = "none"
    """What the actor imitates before it learns: price, the baseline of that name."""
    set: Annotated[dict[str, float], tyro.conf.arg(metavar="KEY VALUE")] = field(default_factory=dict)
    """Hyperparameters to replace, e.g. --set gamma 0.5 batch_size 512."""


def main(options: Options) -> int:
    """Run, and return the exit status."""
    console = Console(stderr=True)
    try:
        from agents.storage import StorageError
        from agents.tracking import TrackingError

        try:
            return _run(options, console)
        except (ValueError, StorageError, TrackingError) as error:
            console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
            return 2
    except KeyboardInterrupt:
        console.print("interrupted at once; checkpoints that were saved before are intact", soft_wrap=True)
        return 130


def _run(options: Options, console: Console) -> int:
    from agents import runs
    from wdmoe_env import load_scenario

    if options.resume is not None:
        if options.run_dir is not None:
            raise ValueError("--run-dir and --resume are given, expected one of them: a resumed run keeps its place")
        scenario = load_scenario(options.scenario) if options.scenario else None
        return runs.resume(options.resume, console, scenario)
    plan = _plan(options)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    default = Path("runs") / f"{plan.scenario.name}-{options.algo}-{options.seed}-{stamp}"
    return runs.start(plan, options.run_dir or default, console)


def _plan(options: Options) -> Plan:
    from agents.plan import Plan
    from agents.settings import hyperparameters
    from wdmoe_env import load_scenario

    scenario = load_scenario(options.scenario or "paper")
    replaced = {name: int(value) if value.is_integer() else value for name, value in options.set.items()}
    return Plan(
        algorithm=options.algo,
        scenario=scenario,
        hyperparameters=hyperparameters(options.algo, scenario.name, **replaced),
        timesteps=options.timesteps,
        num_envs=options.num_envs,
        seed=options.seed,
        wandb=options.wandb,
        evaluate_every=options.evaluate_every,
        evaluate_episodes=options.evaluate_episodes,
        checkpoint_every=options.checkpoint_every,
        warm_start=options.warm_start,
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
