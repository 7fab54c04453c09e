"""TrainedPolicy: a learned policy as a `Policy`, and how it is saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

from agents.sb3_policies import DevicePPOPolicy, DeviceSACPolicy
from agents.scenarios import saved_scenario, scenario_difference
from agents.settings import Algorithm
from agents.storage import StorageError, check_same_form, load_folder, save_folder
from wdmoe_env.interface import Decision, Observation
from wdmoe_env.provenance import versions
from wdmoe_env.scenario import Scenario
from wdmoe_env.spaces import action_codec, observation_codec

BEST, STEM = "best", "policy"
POLICIES: dict[str, type[BasePolicy]] = {"ppo": DevicePPOPolicy, "sac": DeviceSACPolicy}


class TrainedPolicy:
    """A learned policy; it decides without exploring.

    Attributes:
        scenario: what it was trained in.
    """

    def __init__(self, name: str, network: BasePolicy, scenario: Scenario) -> None:
        self.name, self.scenario, self._network = name, scenario, network
        self._actions, self._observations = action_codec("price", scenario), observation_codec("device", scenario)
        network.set_training_mode(False)

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        """Get ready; a trained policy remembers nothing between steps.

        Raises:
            ValueError: the scenario is not the one it was trained in.
        """
        if difference := scenario_difference(self.scenario, scenario):
            raise ValueError(
                f"policy {self.name!r} was trained in scenario {self.scenario.name!r}, not in this one: {difference}"
            )

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """The action for each row of an encoded (N, U, F) observation, (N, A), within [-1, 1]."""
        with torch.no_grad(), _one_thread():
            action = self._network._predict(torch.as_tensor(observation), deterministic=True)
        return np.clip(action.numpy().reshape(len(observation), -1), -1.0, 1.0)

    def decide(self, observation: Observation) -> Decision:
        """Encode, run the network, decode."""
        return self._actions.decode(self.act(self._observations.encode(observation)), observation)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Networks this small are 20 times slower where threads wait for each other; other models here keep theirs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def save_policy(folder: Path, algorithm: Algorithm, network: BasePolicy, width: int, scenario: Scenario) -> None:
    """Save what `load` needs; the folder is replaced as a whole."""
    data = {
        "algorithm": algorithm,
        "width": width,
        "scenario": scenario.model_dump(mode="json"),
        "action": "price",
        "observation": "device",
        "versions": versions(),
    }
    save_folder(folder, STEM, _weights(algorithm, network), data)


def load(run_dir: str | Path) -> TrainedPolicy:
    """Load the best policy of a training run. Nothing in the files is executed.

    Raises:
        StorageError: there is no policy, or it is broken, or of another version; the message names the file.
    """
    path = Path(run_dir)
    if not path.is_dir():
        raise StorageError(f"{run_dir} is not a folder, expected the run directory of train.py")
    file = path / BEST / f"{STEM}.json"
    tensors, data = load_folder(path / BEST, STEM)
    algorithm = data.get("algorithm")
    if not isinstance(algorithm, str) or algorithm not in POLICIES:
        raise StorageError(f"{file}: algorithm is {algorithm!r:.60}, expected one of {', '.join(POLICIES)}")
    scenario = saved_scenario(data.get("scenario"), str(file))
    try:
        network = _network(algorithm, int(data["width"]), scenario)
        check_same_form(tensors, _weights(algorithm, network), "policy")
        network.load_state_dict(tensors, strict=False)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StorageError(f"{file.parent} does not fit this version of the project: {error}") from error
    return TrainedPolicy(path.resolve().name, network, scenario)


def _weights(algorithm: str, network: BasePolicy) -> dict[str, torch.Tensor]:
    """What deciding needs: all of PPO's policy, SAC's actor without its critics."""
    prefix = "actor." if algorithm == "sac" else ""
    return {name: tensor for name, tensor in network.state_dict().items() if name.startswith(prefix)}


def _network(algorithm: str, width: int, scenario: Scenario) -> BasePolicy:
    spaces = observation_codec("device", scenario).space, action_codec("price", scenario).space
    network: Any = POLICIES[algorithm]
    made: BasePolicy = network(*spaces, lambda _: 0.0, width=width)
    return made
