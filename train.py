"""Train a policy with PPO or SAC. See `python train.py --help`."""

from __future__ import annotations

import os
import sys

if not __package__:
    # Found beside this file also where Python does not look there by itself (PYTHONSAFEPATH).
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# Before NumPy is loaded: runs side by side would wait for each other's threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import shlex
import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console

from wdmoe_env.console.output import tolerate_locale
from wdmoe_env.files.atomic import fresh_folder

if TYPE_CHECKING:
    from agents.plan.plan import Plan


FIXED = ("seeds", "sweep", "jobs", "on", "run_dir", "resume", "plugins")
"""Options that hold for a whole sweep."""


@dataclass(frozen=True)
class Options:
    """Train an agent on a scenario; Ctrl-C and a scheduler's signals save a checkpoint first.

    `train.py export RUN_DIR` writes a trained policy as an ONNX file; see `train.py export --help`.
    """

    algo: Literal["ppo", "sac"] = "ppo"
    """Algorithm."""
    scenario: str | None = None
    """Preset, or path of a YAML file; default: paper."""
    timesteps: int = 1_000_000
    """Environment steps to train for, all environments together; the last update is finished."""
    num_envs: int = 256
    """Cells that are simulated side by side."""
    seed: int | None = None
    """Seed of the cells, the network's weights and the exploration; default: 0."""
    seeds: str | None = None
    """Several seeds, such as 0-4 or 0,2,5-7: a run for each, side by side, in RUN_DIR/seed-0 and so on."""
    sweep: Path | None = None
    """YAML file with a grid, or a list, of values for any of these options: a run for each, in RUN_DIR/NAME."""
    jobs: int | None = None
    """Runs of --seeds or --sweep that are trained at once; default: one for each core that this process may use."""
    on: str | None = None
    """Where they are trained, if not side by side here: ray, a cluster of this machine or the one that RAY_ADDRESS
    names; or ray://HOST:PORT."""
    wandb: Literal["offline", "online", "disabled"] = "offline"
    """Where to log: offline keeps the log in the run directory and prints the command that uploads it."""
    run_dir: Path | None = None
    """New directory for the run; default: runs/SCENARIO-ALGO-SEED-TIME, without SEED for --seeds."""
    resume: Path | None = None
    """Go on with the run or the seeds in this directory, as started; of other options only --jobs and --on count."""
    evaluate_every: int = 100_000
    """Steps between evaluations on validation episodes."""
    evaluate_episodes: int = 32
    """Validation episodes in each evaluation."""
    checkpoint_every: int = 250_000
    """Steps between checkpoints."""
    bandwidth: Literal["optimal", "learned", "residual"] | None = None
    """How price actions split the band, in the place of what the scenario sets."""
    prices: Literal["device", "expert"] | None = None
    """What actions price, in the place of what the scenario sets: devices, or each expert."""
    warm_start: Literal["none", "price"] = "none"
    """What the actor imitates before it learns: price, the baseline of that name."""
    set: Annotated[dict[str, float], tyro.conf.arg(metavar="KEY VALUE")] = field(default_factory=dict)
    """Hyperparameters to replace, e.g. --set width 128 batch_size 512."""
    plugins: str = ""
    """Modules, separated by commas, that register path losses, gating families or compute models of one's own."""


def command_line(arguments: list[str]) -> int:
    """Train, or export what was trained, and return the exit status."""
    tolerate_locale()
    if arguments[:1] != ["export"]:
        return main(tyro.cli(Options, prog="train.py", args=arguments))
    from agents.export import command

    return command.main(tyro.cli(command.Options, prog="train.py export", args=arguments[1:]))


def main(options: Options) -> int:
    """Run, and return the exit status."""
    console = Console(stderr=True)
    try:
        from agents.files.tracking import TrackingError
        from wdmoe_env.files.safe import StorageError
        from wdmoe_env.workers.units import PoolError

        try:
            return _run(options, console)
        except (ValueError, StorageError, TrackingError, PoolError, OSError) as error:
            console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
            return 2
        except MemoryError as error:
            console.print(
                f"error: too little memory: {error}", style="red", markup=False, highlight=False, soft_wrap=True
            )
            return 2
    except KeyboardInterrupt:
        console.print("interrupted at once; checkpoints that were saved before are intact", soft_wrap=True)
        return 130


def _run(options: Options, console: Console) -> int:
    from agents.training import one_run, seeds, sweep
    from wdmoe_env import load_scenario
    from wdmoe_env.plugins import load_plugins

    load_plugins(options.plugins)
    if options.resume is not None:
        if options.run_dir is not None:
            raise ValueError("--run-dir and --resume are given, expected one of them: a resumed run keeps its place")
        scenario = load_scenario(options.scenario) if options.scenario else None
        if sweep.is_sweep(options.resume):
            return sweep.resume(options.resume, console, options.jobs, options.on)
        if seeds.is_set(options.resume):
            return seeds.resume(options.resume, console, scenario, options.jobs, options.on)
        return one_run.resume(options.resume, console, scenario)
    if options.sweep is not None:
        return _sweep(options, console)
    plan = _plan(options)
    if options.seeds is not None and options.seed is not None:
        raise ValueError("--seed and --seeds are given, expected one of them")
    if options.on is not None and options.seeds is None:
        raise ValueError(f"--on {options.on} is for several runs: give --seeds or --sweep")
    seed = f"-{plan.seed}" if options.seeds is None else ""
    default = Path("runs") / f"{plan.scenario.name}-{options.algo}{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    with nullcontext(options.run_dir) if options.run_dir is not None else fresh_folder(default) as path:
        if options.seeds is None:
            return one_run.start(plan, path, console)
        return seeds.start(plan, seeds.parse_seeds(options.seeds), path, console, options.jobs, options.on)


def _sweep(options: Options, console: Console) -> int:
    from agents.training import sweep

    assert options.sweep is not None
    if options.seeds is not None:
        raise ValueError("--seeds and --sweep are given, expected one of them: seed is an option of a sweep, too")
    found = sweep.read_sweep(options.sweep, lambda settings: _plan(_changed(options, settings)))
    default = Path("runs") / f"{options.sweep.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    command = shlex.join(["python", *sys.argv])
    with nullcontext(options.run_dir) if options.run_dir is not None else fresh_folder(default) as path:
        return sweep.start(found, path, console, command, options.jobs, options.on)


def _changed(options: Options, settings: dict[str, Any]) -> Options:
    """The options of one run of a sweep; a ValueError tells all that are unknown."""
    known = [name for name in vars(options) if name not in FIXED]
    values: dict[str, Any] = {}
    faults = []
    for key, value in settings.items():
        name, _, hyperparameter = key.replace("-", "_").partition(".")
        if hyperparameter and name == "set":
            values["set"] = {**values.get("set", options.set), hyperparameter: value}
        elif name in known and name != "set" and not hyperparameter:
            values[name] = value
        else:
            faults.append(f"unknown option {key!r:.60}, expected one of {', '.join(known[:-1])} or set.NAME")
    for name, value in values.get("set", {}).items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            faults.append(f"set.{name} is {value!r:.60}, expected a number")
    if faults:
        raise ValueError("; ".join(faults))
    numbers = {name: float(value) for name, value in values.get("set", options.set).items()}
    return replace(options, **{**values, "set": numbers})


def _plan(options: Options) -> Plan:
    from agents.plan.hyperparameters import hyperparameters, section_of
    from agents.plan.plan import Plan
    from wdmoe_env import load_scenario

    ways = {"bandwidth": options.bandwidth, "prices": options.prices}
    given = {name: way for name, way in ways.items() if way is not None}
    scenario = load_scenario(options.scenario or "paper", **given)
    section = section_of(options.algo, scenario)
    replaced = {name: int(value) if value.is_integer() else value for name, value in options.set.items()}
    return Plan(
        algorithm=options.algo,
        scenario=scenario,
        hyperparameters=hyperparameters(options.algo, section, options.warm_start, **replaced),
        timesteps=options.timesteps,
        num_envs=options.num_envs,
        seed=options.seed or 0,
        wandb=options.wandb,
        evaluate_every=options.evaluate_every,
        evaluate_episodes=options.evaluate_episodes,
        checkpoint_every=options.checkpoint_every,
        warm_start=options.warm_start,
    )


if __name__ == "__main__":
    sys.exit(command_line(sys.argv[1:]))
