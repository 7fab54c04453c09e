"""Policies that come with the project: trained in the presets, found by the settings of a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from agents.plan.compatibility import scenario_difference
from agents.plan.hyperparameters import Algorithm
from agents.policies.trained import TrainedPolicy, load_policy
from wdmoe_env.interface import Decision, Observation
from wdmoe_env.scenario import Scenario

FOLDER = Path(__file__).parents[1] / "pretrained_policies"
"""Holds a folder PRESET-ALGORITHM for each policy."""
FALLBACK = "paper"
"""Preset whose policy runs in scenarios that none was trained in."""


def pretrained(algorithm: Algorithm, transfer: bool = False) -> PretrainedPolicy:
    """The policies that come with the project, as one: `reset` takes the one that was trained in its scenario.

    With `transfer` the policy of `paper` runs where none was trained.

    Raises:
        ValueError: there is no such algorithm.
    """
    if algorithm not in (known := get_args(Algorithm)):
        raise ValueError(f"algorithm is {algorithm!r}, expected one of {', '.join(known)}")
    return PretrainedPolicy(algorithm, transfer)


class PretrainedPolicy:
    """The policy, of those that come with the project, that was trained in the scenario it is reset for."""

    def __init__(self, algorithm: Algorithm, transfer: bool = False) -> None:
        self.name: str = algorithm
        self._transfer = transfer
        self._all: dict[str, TrainedPolicy] | None = None
        self._chosen: TrainedPolicy | None = None

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        """Choose the policy by the scenario's settings, whatever it is called.

        Raises:
            ValueError: none was trained in the scenario; with `transfer`: nor does that of `paper` fit.
            StorageError: a file is broken, or of another version.
        """
        self._chosen = self._find(scenario)
        self._chosen.reset(scenario, num_envs)

    def decide(self, observation: Observation) -> Decision:
        """What the chosen policy decides.

        Raises:
            RuntimeError: `reset` was not called yet.
        """
        if self._chosen is None:
            raise RuntimeError("call reset() before the first decide()")
        return self._chosen.decide(observation)

    def _find(self, scenario: Scenario) -> TrainedPolicy:
        policies = self._load()
        for policy in policies.values():
            if scenario_difference(policy.scenario, scenario, policy.contents) is None:
                return policy
        if self._transfer and FALLBACK in policies:
            return policies[FALLBACK]
        there = f"there are those of {', '.join(policies)}" if policies else "there are none"
        hint = f"; with transfer that of {FALLBACK} runs all the same" if FALLBACK in policies else ""
        raise ValueError(f"no pretrained {self.name} policy has the settings of {scenario.name!r}: {there}{hint}")

    def _load(self) -> dict[str, TrainedPolicy]:
        """All policies of the algorithm by their preset; read once."""
        if self._all is None:
            folders = {folder.name.removesuffix(f"-{self.name}"): folder for folder in FOLDER.glob(f"*-{self.name}")}
            self._all = {
                preset: load_policy(folder, self.name, self._transfer) for preset, folder in sorted(folders.items())
            }
        return self._all
