"""Which features matter to a trained policy: what it loses where one tells it of another cell.

Permutation importance. In validation episodes, a column of the table is replaced before the network sees it, by
the same column of a cell drawn from all steps and episodes of the policy undisturbed: the column keeps its values and
how they lie over the rows, and says nothing of the cell at hand. The price levels of `dropped_*` and of `lost_*` go
together. A column that another one can be told from matters little by this measure, and so does one that the policy has
not learned to use. `--retrain` asks the other way: the error of a new network that imitates `price`, as the warm start
does, with the column at 0 throughout.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import harness

import agents
from agents.plan.hyperparameters import hyperparameters, section_of
from agents.plan.prices import ENCODINGS, price_action, priced_observation
from agents.policies.trained import TrainedPolicy
from agents.sb3.build import build, one_thread
from agents.sb3.vec_env import WDMoEVecEnv
from agents.warm_start import imitation
from evaluation.estimates.statistics import estimate
from wdmoe_env import Scenario, Simulator, load_scenario
from wdmoe_env.arrays import FloatArray, IntArray

ALL: Final = "all as they are"
FAMILIES: Final = ("dropped_", "lost_", "expert_dropped_", "expert_lost_")
"""Beginnings of the names of columns that go together."""
COLUMNS: Final = ("features", "reward", "drop", "95 % interval", "drop, %", "imitation error\nwithout")

FeatureTable = NDArray[np.float32]


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    run: Path
    """Directory of a trained run; its scenario is run."""
    episodes: int = 32
    """Validation episodes."""
    seed: int = 0
    """Seed of the episodes, of what is shuffled, and of the networks that imitate."""
    retrain: bool = False
    """Also imitate `price` without each column; minutes for each."""
    retrain_steps: int = 128
    """Steps of 64 cells each that are imitated."""


@dataclass(frozen=True)
class Row:
    """A group of columns: mean reward without them, what is lost, its 95 % interval over episodes, and its share.

    `error` is the root mean square error of imitated actions in held-out steps, without these columns; None: not asked.
    """

    run: str
    scenario: str
    features: str
    reward: float
    drop: float
    drop_ci95: tuple[float, float]
    drop_share: float
    error: float | None


def groups(prices: str = "device") -> dict[str, list[int]]:
    """Columns that are shuffled together, by name, in the table of policies that price devices or experts."""
    found: dict[str, list[int]] = {}
    for column, name in enumerate(ENCODINGS[prices].features):
        kind = next((kind for kind in FAMILIES if name.startswith(kind)), None)
        found.setdefault(f"{kind}*" if kind else name, []).append(column)
    return found


class Cells:
    """A policy in the same validation episodes again and again, with what it sees changed.

    Attributes:
        seen: (steps * episodes, rows, F) all that it saw undisturbed.
        reward: (episodes,) what that brought, mean over the steps.
        passes: (episodes,) forward pass that each episode begins with.
    """

    def __init__(self, policy: TrainedPolicy, scenario: Scenario, episodes: int, seed: int) -> None:
        self._policy, self._seed = policy, seed
        self._simulator = Simulator(scenario, episodes, "validation")
        self._actions, self._observations = price_action(scenario), priced_observation(scenario)
        policy.reset(scenario, episodes)
        seen: list[FeatureTable] = []

        def note(table: FeatureTable) -> FeatureTable:
            seen.append(table.copy())
            return table

        self.reward = self._run(note)
        self.seen = np.concatenate(seen)
        self._simulator.reset(seed)
        self.passes: IntArray = self._simulator.passes.copy()

    def without(self, columns: list[int]) -> FloatArray:
        """(episodes,) mean reward with these columns those of other cells, all from the same cell."""
        rng = np.random.default_rng(self._seed)

        def shuffle(table: FeatureTable) -> FeatureTable:
            table = table.copy()
            table[:, :, columns] = self.seen[rng.integers(len(self.seen), size=len(table))][:, :, columns]
            return table

        return self._run(shuffle)

    def _run(self, change: Callable[[FeatureTable], FeatureTable]) -> FloatArray:
        observation, rewards = self._simulator.reset(self._seed), []
        for _ in range(self._simulator.scenario.steps_per_episode):
            table = change(np.asarray(self._observations.encode(observation)))
            outcome = self._simulator.step(self._actions.decode(self._policy.act(table), observation))
            rewards.append(outcome.reward)
            observation = outcome.observation
        return np.mean(rewards, axis=0)


def imitation_error(scenario: Scenario, options: Options) -> Callable[[list[int]], float]:
    """What an untrained network of the default size makes of `price` without some columns: its held-out error."""
    samples = imitation.collect(scenario, options.seed, options.retrain_steps)

    @one_thread()
    def error(columns: list[int]) -> float:
        settings = hyperparameters("ppo", section_of("ppo", scenario))
        model = build("ppo", WDMoEVecEnv(scenario, 1), settings, options.seed, lambda: 0.0)
        observations = samples.observations.clone()
        observations[:, :, columns] = 0.0
        return imitation.imitate(model.policy, replace(samples, observations=observations), options.seed).after

    return error


def measure(policy: TrainedPolicy, options: Options) -> Iterator[Row]:
    """Yield a row for the policy undisturbed, and one for each group of columns."""
    scenario = load_scenario(policy.scenario)  # reads the files that it names, which loading a policy does not
    undisturbed = Cells(policy, scenario, options.episodes, options.seed)
    error = imitation_error(scenario, options) if options.retrain else None
    for name, columns in {ALL: [], **groups(scenario.prices)}.items():
        reward = undisturbed.without(columns) if columns else undisturbed.reward
        lost = estimate([undisturbed.reward - reward], clusters=undisturbed.passes)
        yield Row(
            *(policy.name, scenario.name, name, float(reward.mean())),
            drop=lost.mean,
            drop_ci95=(lost.low, lost.high),
            drop_share=float(lost.mean / undisturbed.reward.mean()),
            error=error(columns) if error else None,
        )


def main(options: Options) -> None:
    policy = agents.load(options.run)
    title = f"{policy.name} in {policy.scenario.name}: features of other cells"
    with harness.Report(options, COLUMNS, title=title) as report:
        for row in measure(policy, options):
            numbers = f"{row.drop:.4f}", "{:.4f} to {:.4f}".format(*row.drop_ci95), f"{100 * row.drop_share:.2f}"
            error = "" if row.error is None else f"{row.error:.4f}"
            cells = [row.features, f"{row.reward:.4f}", *numbers, error]
            report.add(row, cells, end_section=row.features == ALL)


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__, one_thread=True))
