"""How an Observation looks as a Gymnasium space: encodings of observations."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wdmoe_env.arrays import FloatArray
from wdmoe_env.envs.expert_features import EXPERT_FEATURES, expert_features
from wdmoe_env.envs.features import FEATURES, LIMIT, device_features
from wdmoe_env.interface import Observation
from wdmoe_env.scenario import Scenario


class DictObservation:
    """The Observation's fields, each scaled to about 0 to 1 or -1 to 1.

    Gains: dB from -160 to -40 as -1 to 1. Times: log10 from 1 us to 10 s as 0 to 1. Layer: depth from 0 to 1.
    """

    def __init__(self, scenario: Scenario) -> None:
        devices, model = scenario.num_devices, scenario.model
        self._depth = max(model.layers - 1, 1)
        limits: dict[str, tuple[float, tuple[int, ...]]] = {
            "gain_dl": (-1.0, (devices,)),
            "gain_ul": (-1.0, (devices,)),
            "average_gain_dl": (-1.0, (devices,)),
            "average_gain_ul": (-1.0, (devices,)),
            "gate_weights": (0.0, (scenario.traffic.tokens, model.experts)),
            "load": (0.0, (devices,)),
            "last_device_time": (0.0, (devices,)),
            "layer": (0.0, (1,)),
        }
        self.space = spaces.Dict(
            {name: spaces.Box(low, 1.0, shape, np.float32) for name, (low, shape) in limits.items()}
        )

    def encode(self, observation: Observation) -> dict[str, NDArray[np.float32]]:
        seconds = np.log10(np.maximum(observation.last_device_time, 1e-6) / 1e-6) / 7.0
        scaled = {
            "gain_dl": _scaled_db(observation.gain_dl),
            "gain_ul": _scaled_db(observation.gain_ul),
            "average_gain_dl": _scaled_db(observation.average_gain_dl),
            "average_gain_ul": _scaled_db(observation.average_gain_ul),
            "gate_weights": np.clip(observation.gate_weights, 0.0, 1.0),
            "load": observation.load,
            "last_device_time": np.minimum(seconds, 1.0),
            "layer": observation.layer[:, None] / self._depth,
        }
        return {name: np.array(value, dtype=np.float32, order="C") for name, value in scaled.items()}


class FlatObservation:
    """`dict` as one vector: its fields in alphabetical order, as Gymnasium flattens them."""

    def __init__(self, scenario: Scenario) -> None:
        self._fields = DictObservation(scenario)
        self.space = spaces.flatten_space(self._fields.space)

    def encode(self, observation: Observation) -> NDArray[np.float32]:
        fields = self._fields.encode(observation)
        return np.concatenate([fields[name].reshape(len(observation.layer), -1) for name in self._fields.space], axis=1)


class DeviceObservation:
    """A compact (U, F) table of per-device features, see `wdmoe_env.envs.features.FEATURES`."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.space = spaces.Box(-LIMIT, LIMIT, (scenario.num_devices, len(FEATURES)), np.float32)

    def encode(self, observation: Observation) -> NDArray[np.float32]:
        return device_features(observation, self._scenario)


class ExpertObservation:
    """A table (E, F) of per-expert features, see `wdmoe_env.envs.expert_features.EXPERT_FEATURES`."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.space = spaces.Box(-LIMIT, LIMIT, (scenario.model.experts, len(EXPERT_FEATURES)), np.float32)

    def encode(self, observation: Observation) -> NDArray[np.float32]:
        return expert_features(observation, self._scenario)


class FlatTable:
    """A table of features as one vector, row by row: networks for vectors take it without a wrapper.

    Args:
        table: the encoding of the table.
    """

    def __init__(self, table: DeviceObservation | ExpertObservation) -> None:
        self._table = table
        self.space = spaces.flatten_space(table.space)

    def encode(self, observation: Observation) -> NDArray[np.float32]:
        rows = self._table.encode(observation)
        return rows.reshape(len(rows), -1)


def device_flat(scenario: Scenario) -> FlatTable:
    """`device` as one vector of U * F values."""
    return FlatTable(DeviceObservation(scenario))


def expert_flat(scenario: Scenario) -> FlatTable:
    """`expert` as one vector of E * F values."""
    return FlatTable(ExpertObservation(scenario))


def _scaled_db(gain: FloatArray) -> FloatArray:
    return np.clip((10.0 * np.log10(np.maximum(gain, 1e-30)) + 100.0) / 60.0, -1.0, 1.0)
