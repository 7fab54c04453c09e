"""TrainedPolicy: a learned policy as a `Policy`, and how it is saved and loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

from agents.plan.compatibility import LEARNED, encodings, first_difference, saved_scenario, scenario_difference
from agents.plan.hyperparameters import WIDTHS, Algorithm
from agents.plan.prices import price_action, priced_observation
from agents.sb3.actor import actor_of
from agents.sb3.expert_policies import POLICIES, policy_of
from wdmoe_env.envs.codecs import ActionCodec, ObservationCodec
from wdmoe_env.files.provenance import versions
from wdmoe_env.files.safe import StorageError
from wdmoe_env.files.tensors import load_folder, save_folder
from wdmoe_env.files.tree import check_same_tree
from wdmoe_env.interface import Decision, Observation
from wdmoe_env.scenario import Scenario, load_scenario
from wdmoe_env.settings.contents import FILES, digests, kept_files

BEST, STEM = "best", "policy"
MAX_BYTES = 512 * 2**20
"""Weights of the widest network that the hyperparameters allow take 270 MB; those of the default 0.1 MB."""


class TrainedPolicy:
    """A learned policy; it decides without exploring. Call `reset` first, which takes the weights of that moment.

    It prices devices or experts and splits the band as it has learned to, whatever a scenario sets for that.

    Args:
        name: what tables call it.
        network: decides. Its weights do not depend on the number of devices and experts; its spaces may be those of
            another cell.
        scenario: what it was trained in.
        transfer: whether it may run in other scenarios than its own.
        contents: digests, by path, of what the files that `scenario` names held; None: what they hold now.

    Attributes:
        network: what decides, in torch; its `mean_action` takes tables of any number of devices or experts.
        scenario: what it was trained in. The files that it names were not read if the policy was loaded.
        contents: as given.
    """

    def __init__(
        self,
        name: str,
        network: BasePolicy,
        scenario: Scenario,
        transfer: bool = False,
        contents: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.scenario, self.contents = name, scenario, contents
        self.network, self._transfer = network, transfer
        self._actor: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None
        self._ready: tuple[Scenario, ActionCodec, ObservationCodec] | None = None

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        """Get ready; a trained policy remembers nothing between steps.

        Raises:
            ValueError: the scenario is not the one it was trained in, and `transfer` is not set.
        """
        if not self._transfer and (difference := scenario_difference(self.scenario, scenario, self.contents)):
            raise ValueError(
                f"policy {self.name!r} was trained in scenario {self.scenario.name!r}, not in this one: {difference}; "
                "with transfer it runs all the same"
            )
        learned = {name: getattr(self.scenario, name) for name in LEARNED}
        scenario = scenario.model_copy(update=learned)
        if self._ready is None or self._ready[0] != scenario:
            self._ready = scenario, price_action(scenario), priced_observation(scenario)
        self._actor = actor_of(self.network, scenario.hosts)

    def __getstate__(self) -> dict[str, Any]:
        """All but what `reset` makes: so it travels to other processes."""
        return {**self.__dict__, "_actor": None, "_ready": None}

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """The action for each row of an encoded (N, U, F) or (N, E, F) observation, (N, A), within [-1, 1].

        Raises:
            RuntimeError: `reset` was not called yet.
        """
        if self._actor is None:
            raise RuntimeError("call reset() before the first decide()")
        return np.clip(self._actor(observation), -1.0, 1.0)

    def decide(self, observation: Observation) -> Decision:
        """Encode, run the network, decode.

        Raises:
            RuntimeError: `reset` was not called yet.
        """
        if self._ready is None:
            raise RuntimeError("call reset() before the first decide()")
        _, actions, observations = self._ready
        return actions.decode(self.act(observations.encode(observation)), observation)


def save_policy(folder: Path, algorithm: Algorithm, network: BasePolicy, width: int, scenario: Scenario) -> None:
    """Save what `load` needs; the folder is replaced as a whole."""
    saved = scenario.model_dump(mode="json")
    data: dict[str, Any] = {
        "algorithm": algorithm,
        "width": width,
        "scenario": saved,
        "encodings": encodings(scenario),
        "versions": versions(),
    }
    if kept := kept_files(saved, folder):
        data[FILES] = kept
    save_folder(folder, STEM, _weights(algorithm, network), data)


def load(run_dir: str | Path, transfer: bool = False) -> TrainedPolicy:
    """Load the best policy of a training run. Nothing in the files is executed, and no file is read that they name.

    With `transfer` it runs in every scenario, with any number of devices.

    Raises:
        StorageError: there is no policy, or it is broken, or of another version; the message names the file.
    """
    path = Path(run_dir)
    if not path.is_dir():
        raise StorageError(f"{run_dir} is not a folder, expected the run directory of train.py")
    return load_policy(path / BEST, path.resolve().name, transfer)


def load_policy(folder: Path, name: str, transfer: bool = False) -> TrainedPolicy:
    """Load what `save_policy` wrote to a folder; as `load`."""
    tensors, data = load_folder(folder, STEM, MAX_BYTES)
    file = folder / f"{STEM}.json"
    algorithm = data.get("algorithm")
    known = POLICIES["device"]
    if not isinstance(algorithm, str) or algorithm not in known:
        raise StorageError(f"{file}: algorithm is {algorithm!r:.60}, expected one of {', '.join(known)}")
    scenario = saved_scenario(data.get("scenario"), str(file), read_files=False)
    if difference := first_difference(data.get("encodings"), encodings(scenario), "encodings"):
        raise StorageError(f"{file} does not fit this version of the project: {difference}")
    width = _width(data, tensors, file)
    # Weights do not depend on the cell. One of our own making reads no file, and is small.
    network = _network(algorithm, width, load_scenario("paper", bandwidth=scenario.bandwidth, prices=scenario.prices))
    try:
        check_same_tree(tensors, _weights(algorithm, network), "policy")
        network.load_state_dict(tensors, strict=False)
    except (ValueError, RuntimeError) as error:
        raise StorageError(f"{folder} does not fit this version of the project: {error}") from error
    return TrainedPolicy(name, network, scenario, transfer, digests(data.get(FILES)))


def _width(data: dict[str, Any], tensors: dict[str, torch.Tensor], file: Path) -> int:
    """The width, checked before a network is built, so that one line cannot ask for gigabytes."""
    width, (low, high) = data.get("width"), WIDTHS
    if type(width) is not int or not low <= width <= high:
        raise StorageError(f"{file}: width is {width!r:.60}, expected a whole number from {low} to {high}")
    if (count := sum(tensor.numel() for tensor in tensors.values())) < width**2:
        raise StorageError(f"{file}: width is {width}, but there are {count:,} weights, expected at least {width**2:,}")
    return width


def _weights(algorithm: str, network: BasePolicy) -> dict[str, torch.Tensor]:
    """What deciding needs: all of PPO's policy, SAC's actor without its critics."""
    prefix = "actor." if algorithm == "sac" else ""
    return {name: tensor for name, tensor in network.state_dict().items() if name.startswith(prefix)}


def _network(algorithm: str, width: int, scenario: Scenario) -> BasePolicy:
    spaces = priced_observation(scenario).space, price_action(scenario).space
    network, arguments = policy_of(algorithm, scenario)
    made: BasePolicy = network(*spaces, lambda _: 0.0, width=width, **arguments)
    return made
