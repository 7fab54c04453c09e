"""Compare policies in the same held-out episodes: a table, summary.json, episodes.parquet, plots and report.html."""

from __future__ import annotations

import os
import sys

if not __package__:
    # Found beside this file also where Python does not look there by itself (PYTHONSAFEPATH).
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# Before NumPy is loaded: threads that wait for each other cost small matrices several times what they win.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import contextlib
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from evaluation.comparison import Comparison, compare, num_decisions
from evaluation.episodes.contenders import Contender, check_fit, find_contenders
from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.live import Live, opened
from evaluation.episodes.plan import Plan
from evaluation.episodes.reader import find_reader
from evaluation.episodes.reading import Reader, Reading
from evaluation.report import outputs, summary, terminal
from evaluation.report.upload import WandbMode, upload
from wdmoe_env import Scenario, Simulator, load_scenario
from wdmoe_env.console.output import printing, tolerate_locale
from wdmoe_env.console.progress import counting
from wdmoe_env.console.stop import TerminatedError, interrupted_by_signals
from wdmoe_env.console.words import words
from wdmoe_env.plugins import load_plugins
from wdmoe_env.testbed.kernel import Links
from wdmoe_env.texts import Language
from wdmoe_env.workers import places
from wdmoe_env.workers.units import Pool, PoolError


@dataclass(frozen=True)
class Options:
    """Compare policies in the same held-out episodes.

    A directory of seed-* runs counts as one policy, estimated over all of its runs.
    """

    scenario: str = "paper"
    """Scenarios, separated by commas: names of presets or YAML files; a path that exists may hold commas."""
    policies: str = "top-k,top-k+bandwidth,wdmoe,dynamic-skipping,constant-price,price,random"
    """Baselines, folders of trained runs, pretrained:ALGO, module:Class; separated by commas. LABEL=POLICY renames."""
    episodes: int = 200
    """Held-out episodes for each policy."""
    seed: int = 0
    """Decides the episodes; training never meets them, whatever its seed."""
    model: str | None = None
    """Folder of a local Hugging Face mixture-of-experts model that reads text with the experts that policies choose."""
    text: str = ""
    """UTF-8 files for it to read, separated by commas; by default what a model of wdmoe_env.moe train has not seen."""
    testbed: str = ""
    """local:N or a YAML file of devices, which hold the experts of --model: latency is measured, not only predicted."""
    links: Links | None = None
    """Of a testbed: as the network is, or paced to the scenario's channel, by senders or by the kernel (root alone); by
    default paced on this machine and none elsewhere."""
    slow_down: float = 1.0
    """Of a testbed: stretches all emulated times, so that this machine keeps up."""
    transfer: bool = False
    """Let trained policies run in scenarios that they were not trained in, such as another number of devices."""
    bound_steps: int = 200
    """Single steps, drawn at random, that are compared with the proven most that they can bring; 0: none."""
    jobs: int | None = None
    """Processes that run episodes, each a chunk of one policy's at a time; decisions are timed afterwards, by one.
    Default: 1, and with --on one for each core there."""
    on: str | None = None
    """Where else they run: ray, a cluster of this machine or the one that RAY_ADDRESS names; or ray://HOST:PORT."""
    out: Path | None = None
    """Directory for the results; by default results/<time>."""
    overwrite: bool = False
    """Replace the results that --out already holds."""
    lang: Language = "en"
    """Language of report.html: en or zh."""
    json: bool = False
    """Print the summary as JSON on standard output, and nothing else there."""
    wandb: WandbMode = "disabled"
    """Log to Weights & Biases: offline needs no account and prints the command that syncs."""
    wandb_project: str = "wdmoe-gym"
    """Project there."""
    plugins: str = ""
    """Modules, separated by commas, that register baselines, path losses, gating families or compute models."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    tolerate_locale()
    arguments = sys.argv[1:] if arguments is None else arguments
    options = tyro.cli(Options, args=arguments, prog="evaluate.py")
    # Libraries that print must not get between a reader and the JSON.
    quiet = contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext()
    try:
        with quiet, interrupted_by_signals():
            made = evaluate(options, shlex.join(["python", "evaluate.py", *arguments]))
    except (EvaluationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except TerminatedError as error:
        print(f"stopped by {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    if options.json:
        print(summary.dumps(made))
    return 0


def evaluate(options: Options, command: str) -> summary.Summary:
    """Compare as asked for, write all files, print the tables and return the summary.

    Raises:
        EvaluationError: an option is wrong, a policy does not fit a scenario or decides badly, or writing fails.
    """
    plan = _plan(options)
    _check_place(options)
    _load_plugins(options.plugins)
    scenarios = _scenarios(options.scenario)
    contenders = find_contenders(words(options.policies), options.transfer)
    check_fit(contenders, scenarios)
    with ExitStack() as stack:
        with _testbed(options, scenarios) as live:
            reader = _reader(options, live)
            readings = [reader.reading(scenario, plan) if reader else None for scenario in scenarios]
            out = stack.enter_context(outputs.prepared(options.out, options.overwrite))
            with _pool(options) as pool:
                comparisons = _run(scenarios, contenders, plan, readings, pool)
        made = summary.build(comparisons, plan, command, reader.facts if reader else None, live.facts if live else None)
        if live is not None:
            outputs.write_live(live, scenarios[0], out)
        plots = outputs.write(comparisons, made, out, options.lang)
        with printing():
            terminal.show(comparisons, plan, out)
        if options.wandb != "disabled":
            sync = upload(options.wandb, options.wandb_project, made, plots, out, _warn)
            with printing():
                print(f"sync to Weights & Biases: {sync}" if sync else "logged to Weights & Biases")
    return made


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _load_plugins(modules: str) -> None:
    try:
        load_plugins(modules)
    except ValueError as error:
        raise EvaluationError(f"--plugins: {error}") from error


def _scenarios(sources: str) -> list[Scenario]:
    try:
        scenarios = [load_scenario(name) for name in words(sources)]
        for scenario in scenarios:
            # Gate weights that cannot be had are found now, not after the scenarios before were run.
            Simulator(scenario, split="test")
    except ValueError as error:
        raise EvaluationError(str(error)) from error
    names = [scenario.name for scenario in scenarios]
    if not names:
        raise EvaluationError("--scenario is empty: expected at least one, such as paper")
    if twice := [name for name in names if names.count(name) > 1]:
        raise EvaluationError(f"more than one scenario is called {twice[0]!r}: give each file a name of its own")
    return scenarios


def _plan(options: Options) -> Plan:
    if not options.testbed:
        if options.links is not None or options.slow_down != 1.0:
            raise EvaluationError("--links and --slow-down are for a testbed: give one with --testbed")
        return Plan(options.episodes, options.seed, bound_steps=options.bound_steps)
    if options.model is None:
        raise EvaluationError(f"--testbed {options.testbed} needs a model that is split over it: give --model")
    # A testbed is one cell; and what is proved is proved of the simulator.
    return Plan(options.episodes, options.seed, bound_steps=0, side_by_side=1)


def _check_place(options: Options) -> None:
    try:
        places.check(options.on, options.jobs)
    except PoolError as error:
        raise EvaluationError(str(error)) from error
    if options.model is not None and (options.on or options.jobs not in (None, 1)):
        asked = f"--on {options.on}" if options.on else f"--jobs {options.jobs}"
        raise EvaluationError(f"{asked} is for simulated episodes: the one --model reads in one process")


@contextlib.contextmanager
def _pool(options: Options) -> Iterator[Pool | None]:
    if options.on is None and options.jobs in (None, 1):
        yield None
        return
    try:
        with places.opened(options.on, options.jobs) as pool:
            yield pool
    except PoolError as error:
        raise EvaluationError(str(error)) from error


def _testbed(options: Options, scenarios: list[Scenario]) -> contextlib.AbstractContextManager[Live | None]:
    if not options.testbed or options.model is None:
        return contextlib.nullcontext()
    if len(scenarios) > 1:
        raise EvaluationError(f"--scenario names {len(scenarios)} scenarios, expected one for a testbed")
    if not Path(options.model).is_dir():
        raise EvaluationError(f"no model at --model {options.model}: the folder does not exist")
    return opened(options.testbed, Path(options.model), scenarios[0], options.links, options.slow_down)


def _reader(options: Options, live: Live | None) -> Reader | None:
    if options.model is None:
        if options.text:
            raise EvaluationError(f"--text {options.text} is for a model to read: give its folder with --model")
        return None
    return find_reader(options.model, words(options.text), live)


def _run(
    scenarios: list[Scenario],
    contenders: list[Contender],
    plan: Plan,
    readings: list[Reading | None],
    pool: Pool | None,
) -> list[Comparison]:
    total = sum(num_decisions(scenario, contenders, plan) for scenario in scenarios)
    with counting(Console(stderr=True), total) as tick:

        def ticks(scenario: Scenario) -> Callable[[str], None]:
            return lambda policy: tick(f"{scenario.name}: {policy}")

        return [
            compare(scenario, contenders, plan, ticks(scenario), reading, pool)
            for scenario, reading in zip(scenarios, readings, strict=True)
        ]


if __name__ == "__main__":
    sys.exit(main())
