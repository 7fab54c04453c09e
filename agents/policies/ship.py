"""Put policies of finished runs among those that come with the project. See `python -m agents.policies.ship --help`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from agents.files.run_dir import EVALUATIONS, RunDir
from agents.files.table import read_rows
from agents.plan.compatibility import scenario_difference
from agents.policies import shipped
from agents.policies.trained import BEST, MAX_BYTES, STEM, load, load_policy
from wdmoe_env.files.safe import StorageError
from wdmoe_env.files.tensors import load_folder, save_folder
from wdmoe_env.scenario import load_scenario, preset_names

MAX_SHIPPED_BYTES = 250_000
"""Eight of them stay below 2 MB."""


@dataclass(frozen=True)
class Options:
    """Put policies of finished runs among those that come with the project.

    Of runs of the same preset and algorithm, that of the best validation reward is taken.
    """

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR [RUN_DIR ...]")]
    """Run directories, or folders of seed-* runs."""


@dataclass(frozen=True)
class Candidate:
    """A finished run: where, what its policy is to be called, and its best validation reward."""

    path: Path
    name: str
    reward: float
    origin: dict[str, Any]


def main(options: Options) -> int:
    """Run, and return the exit status."""
    try:
        if not options.run_dirs:
            raise StorageError("no runs given, expected at least one run directory")
        found = [candidate(run) for path in options.run_dirs for run in sorted(path.glob("seed-*/")) or [path]]
        for best in best_of_each(found):
            print(ship(best))
    except StorageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def candidate(path: Path) -> Candidate:
    """Read what a run says of itself.

    Raises:
        StorageError: it is not finished, was not trained in a preset, or is broken.
    """
    config, scenario = RunDir(path).config(), load(path).scenario
    rewards = _rewards(path, config)
    preset = scenario.name
    if preset not in preset_names() or (difference := scenario_difference(scenario, load_scenario(preset))):
        reason = f": {difference}" if preset in preset_names() else ""
        raise StorageError(f"{path} was trained in {preset!r}, expected the settings of a preset{reason}")
    origin = {name: config.get(name) for name in ("command", "git_revision", "seed")}
    return Candidate(path, f"{preset}-{config.get('algorithm')}", max(rewards), origin)


def best_of_each(found: Iterable[Candidate]) -> list[Candidate]:
    """Of those with the same name, the one of the best validation reward; held-out episodes have no say in it."""
    best: dict[str, Candidate] = {}
    for one in found:
        if one.name not in best or one.reward > best[one.name].reward:
            best[one.name] = one
    return list(best.values())


def ship(chosen: Candidate) -> str:
    """Copy its best policy, check that it loads, and tell what was done.

    Raises:
        StorageError: it is too large, or cannot be saved.
    """
    tensors, data = load_folder(chosen.path / BEST, STEM, MAX_BYTES)
    if (weights := sum(tensor.nbytes for tensor in tensors.values())) > MAX_SHIPPED_BYTES:
        raise StorageError(
            f"{chosen.path / BEST} holds {weights:,} bytes of weights, expected at most {MAX_SHIPPED_BYTES:,}"
        )
    folder = shipped.FOLDER / chosen.name
    save_folder(folder, STEM, tensors, {**data, **chosen.origin, "validation_reward": chosen.reward})
    load_policy(folder, chosen.name)
    size = sum(file.stat().st_size for file in folder.iterdir())
    return f"{folder}: {size:,} bytes, from {chosen.path}, validation reward {chosen.reward:.4f}"


def _rewards(path: Path, config: dict[str, Any]) -> list[float]:
    """Validation rewards of a finished run."""
    try:
        rows = read_rows(path / EVALUATIONS)
        rewards = [float(row["reward"]) for row in rows]
        finished = bool(rows) and int(rows[-1]["timesteps"]) >= config["timesteps"]
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{path / EVALUATIONS} is broken: {error}") from error
    if not finished:
        raise StorageError(f"{path} is not finished: go on with python train.py --resume {path}")
    if not all(map(math.isfinite, rewards)):
        raise StorageError(f"{path / EVALUATIONS} holds rewards that are not finite")
    return rewards


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
