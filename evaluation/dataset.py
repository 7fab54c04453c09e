"""A Minari data set of what policies do, for offline learning: `python -m evaluation.dataset --help`."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import tyro
from rich.console import Console

from evaluation.episodes.contenders import Contender, check_fit, find_contenders
from evaluation.episodes.errors import EvaluationError
from wdmoe_env import Scenario, load_scenario, preset_names
from wdmoe_env.console.output import tolerate_locale
from wdmoe_env.console.progress import counting
from wdmoe_env.envs.encoding import ENCODERS, encode
from wdmoe_env.envs.ids import PRICED, id_of
from wdmoe_env.files.provenance import git_revision
from wdmoe_env.gating.bank import Split
from wdmoe_env.version import __version__

if TYPE_CHECKING:
    from minari.data_collector.episode_buffer import EpisodeBuffer

RANDOM = "random"
PLACE = "MINARI_DATASETS_PATH"
"""Where Minari keeps data sets; by default `~/.minari/datasets`."""
Act = Callable[[Any], Any]


@dataclass(frozen=True)
class Options:
    """Write a Minari data set for each policy: `wdmoe/SCENARIO/POLICY-v0`, with the infos of every step.

    What a policy decides is encoded as an action, and the action is what is run and rewarded: where an encoding can
    only come near a decision, the data set still holds what the environment did. `random` draws from the space.
    """

    scenario: str = "paper"
    """Preset, or path of a YAML file."""
    policies: str = "random,price"
    """random, baselines, run directories, pretrained:ALGO or module:Class, separated by commas."""
    episodes: int = 100
    """Episodes of each, on the gate weights that training sees."""
    action: str | None = None
    """native, token, price or expert-price; default: what the scenario prices."""
    observation: str | None = None
    """device-flat, flat, dict and so on; default: device-flat, or expert-flat where experts are priced."""
    seed: int = 0
    """Decides the episodes, the same for all policies."""
    version: int = 0
    """Behind the data set's name."""
    out: Path | None = None
    """Folder of data sets; default: Minari's own."""


def write(options: Options) -> list[str]:
    """Write the data sets and return their names.

    Raises:
        EvaluationError: an option is wrong, a policy does not fit, Minari is missing, or a data set is there already.
    """
    scenario, contenders = _asked(options)
    if options.out is not None:
        os.environ[PLACE] = str(options.out.resolve())
    try:
        import minari
    except ImportError as error:
        raise EvaluationError("a data set needs Minari: pip install wdmoe-env[data]") from error
    names = {name: f"wdmoe/{scenario.name}/{_word(name)}-v{options.version}" for name in contenders}
    there = minari.list_local_datasets()
    for name in names.values():
        if name in there:
            raise EvaluationError(f"data set {name} is there already: give another --version, or minari delete {name}")
    total = options.episodes * scenario.steps_per_episode * len(names)
    with counting(Console(stderr=True), total) as tick:
        for label, contender in contenders.items():
            env = _environment(options, scenario)
            played = _play(env, _acting(contender, env, options), options, partial(tick, label))
            _keep(env, _environment(options, scenario, "test"), played, names[label], label)
    return list(names.values())


def _asked(options: Options) -> tuple[Scenario, dict[str, Contender | None]]:
    """The scenario, and who acts in it by name; None stands for actions that are drawn."""
    if options.episodes < 1:
        raise EvaluationError(f"--episodes is {options.episodes}, expected at least 1")
    if options.action is not None and options.action not in ENCODERS:
        raise EvaluationError(f"--action is {options.action!r}, expected one of {', '.join(ENCODERS)}")
    try:
        scenario = load_scenario(options.scenario)
    except ValueError as error:
        raise EvaluationError(str(error)) from error
    words = [word.strip() for word in options.policies.split(",") if word.strip()]
    found = find_contenders([word for word in words if word != RANDOM]) if set(words) != {RANDOM} else []
    check_fit(found, [scenario])
    drawn: dict[str, Contender | None] = {RANDOM: None} if RANDOM in words else {}
    return scenario, drawn | {contender.name: contender for contender in found}


def _environment(options: Options, scenario: Scenario, split: Split = "train") -> gym.Env[Any, Any]:
    """The environment that the data set says how to make again."""
    encodings: dict[str, Any] = {**PRICED[scenario.prices], "split": split}
    encodings |= {name: value for name in ("action", "observation") if (value := getattr(options, name)) is not None}
    if options.scenario in preset_names():
        return gym.make(id_of(options.scenario), **encodings)
    return gym.make("WDMoE-v0", scenario=options.scenario, **encodings)


def _acting(contender: Contender | None, env: gym.Env[Any, Any], options: Options) -> Act:
    """What takes an environment to its next action."""
    if contender is None:
        env.action_space.seed(options.seed)
        return lambda _: env.action_space.sample()
    policy, unwrapped = contender.policies[0], env.unwrapped
    scenario, encoding = unwrapped.get_wrapper_attr("scenario"), options.action or PRICED[_prices(env)]["action"]
    policy.reset(scenario, 1)

    def act(simulator: Any) -> Any:
        batch = encode(encoding, policy.decide(simulator.observation), simulator.observation, scenario)
        return {name: values[0] for name, values in batch.items()} if isinstance(batch, dict) else batch[0]

    return act


def _prices(env: gym.Env[Any, Any]) -> str:
    return str(env.unwrapped.get_wrapper_attr("scenario").prices)


def _play(env: gym.Env[Any, Any], act: Act, options: Options, tick: Callable[[], None]) -> list[EpisodeBuffer]:
    """What happened in each episode; the first one is seeded, and determines the rest."""
    from minari.data_collector.episode_buffer import EpisodeBuffer

    simulator, played = env.unwrapped.get_wrapper_attr("simulator"), []
    for episode in range(options.episodes):
        seed = options.seed if episode == 0 else None
        first, told = env.reset(seed=seed)
        seen, infos, taken = [first], [told], list[Any]()
        brought = list[list[Any]]()
        while not (brought and (brought[-1][1] or brought[-1][2])):
            taken.append(act(simulator))
            observation, *rest, told = env.step(taken[-1])
            seen.append(observation)
            brought.append(rest)
            infos.append(told)
            tick()
        rewards, terminations, truncations = (list(column) for column in zip(*brought, strict=True))
        ended = {"rewards": rewards, "terminations": terminations, "truncations": truncations}
        steps = {"observations": _stacked(seen), "actions": _stacked(taken), "infos": _stacked(infos)}
        played.append(EpisodeBuffer(id=episode, seed=seed, **steps, **ended))
    return played


def _stacked(rows: list[Any]) -> Any:
    """Arrays of all rows, or of each key of theirs."""
    return (
        {key: np.stack([row[key] for row in rows]) for key in rows[0]} if isinstance(rows[0], dict) else np.stack(rows)
    )


def _keep(
    env: gym.Env[Any, Any], held_out: gym.Env[Any, Any], played: list[EpisodeBuffer], name: str, policy: str
) -> None:
    import minari

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`author_email` is set to None")
        minari.create_dataset_from_buffers(
            name,
            played,
            env=env,
            eval_env=held_out,
            algorithm_name=policy,
            author="WDMoE Gym",
            code_permalink=git_revision() or f"wdmoe-env {__version__}",
            description=f"{policy} in a reconstructed WDMoE cell; import wdmoe_env before recovering the environment",
            requirements=[f"wdmoe-env=={__version__}"],
        )


def _word(name: str) -> str:
    """A policy's name in that of a data set: letters, digits, underscores and hyphens."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)


def main(options: Options) -> int:
    """Write the data sets, print their names, and return the exit code."""
    try:
        for written in write(options):
            print(written)
    except EvaluationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    tolerate_locale()
    sys.exit(main(tyro.cli(Options, prog="python -m evaluation.dataset")))
