"""TrainedPolicy: a learned policy as a `Policy`, and how it is saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.policies import BasePolicy

import wdmoe_env
from agents.sb3_policies import DevicePPOPolicy, DeviceSACPolicy
from agents.settings import Algorithm
from agents.storage import StorageError, load_folder, save_folder
from wdmoe_env.interface import Decision, Observation
from wdmoe_env.scenario import Scenario, load_scenario
from wdmoe_env.spaces import action_codec, observation_codec

BEST = "best"
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

    def act(self, observation: Any) -> Any:
        """The action for each row of an encoded (N, U, F) observation, (N, A), within [-1, 1]."""
        with torch.no_grad():
            action = self._network._predict(torch.as_tensor(observation), deterministic=True)
        return np.clip(action.numpy().reshape(len(observation), -1), -1.0, 1.0)

    def decide(self, observation: Observation) -> Decision:
        """Encode, run the network, decode."""
        return self._actions.decode(self.act(self._observations.encode(observation)), observation)


def scenario_difference(trained: Scenario, other: Scenario) -> str | None:
    """The first setting in which two scenarios differ, in words; names and descriptions do not count."""
    ignored = {"name", "description"}
    return _first_difference(trained.model_dump(exclude=ignored), other.model_dump(exclude=ignored), "")


def _first_difference(trained: Any, other: Any, place: str) -> str | None:
    if isinstance(trained, dict) and isinstance(other, dict):
        for key in sorted(set(trained) | set(other)):
            if found := _first_difference(trained.get(key), other.get(key), f"{place}.{key}" if place else key):
                return found
        return None
    return None if trained == other else f"{place} was {trained!r:.60}, and is {other!r:.60} here"


def save_policy(folder: Path, algorithm: Algorithm, network: BasePolicy, width: int, scenario: Scenario) -> None:
    """Save what `load` needs; the folder is replaced as a whole."""
    tensors = network.state_dict()
    if algorithm == "sac":
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("actor.")}
    data = {
        "algorithm": algorithm,
        "width": width,
        "scenario": scenario.model_dump(mode="json"),
        "action": "price",
        "observation": "device",
        "versions": {
            "wdmoe_env": wdmoe_env.__version__,
            "torch": torch.__version__,
            "stable_baselines3": stable_baselines3.__version__,
        },
    }
    save_folder(folder, tensors, data)


def load(run_dir: str | Path) -> TrainedPolicy:
    """Load the best policy of a training run. Nothing in the files is executed.

    Raises:
        StorageError: there is no policy, or it is broken, or of another version; the message names the file.
    """
    folder = Path(run_dir) / BEST
    if not Path(run_dir).is_dir():
        raise StorageError(f"{run_dir} is not a folder, expected the run directory of train.py")
    tensors, data = load_folder(folder)
    if data.get("algorithm") not in POLICIES:
        raise StorageError(f"{folder}/data.json: algorithm is {data.get('algorithm')!r}, expected ppo or sac")
    try:
        scenario = load_scenario(Scenario.model_validate_json(_json(data["scenario"])))
        network = _network(data["algorithm"], int(data["width"]), scenario)
        missing, unexpected = network.load_state_dict(tensors, strict=False)
    except (KeyError, ValueError, RuntimeError) as error:
        raise StorageError(f"{folder} does not fit this version of the project: {error}") from error
    missing = [name for name in missing if data["algorithm"] == "ppo" or name.startswith("actor.")]
    if missing or unexpected:
        raise StorageError(f"{folder}/tensors.safetensors lacks or has too much: {[*missing, *unexpected][:3]}")
    return TrainedPolicy(Path(run_dir).name, network, scenario)


def _network(algorithm: str, width: int, scenario: Scenario) -> BasePolicy:
    spaces = observation_codec("device", scenario).space, action_codec("price", scenario).space
    network: Any = POLICIES[algorithm]
    return network(*spaces, lambda _: 0.0, width=width)


def _json(data: Any) -> str:
    import json

    return json.dumps(data)
