"""Changes of a cell: another bandwidth, a device elsewhere, a device that computes faster or slower."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field, SerializeAsAny

from wdmoe_env import Scenario, Simulator, load_scenario
from wdmoe_env.arrays import FloatArray
from wdmoe_env.gating.bank import Split
from wdmoe_env.hardware.latency.recordings import LatencyReplay
from wdmoe_env.hardware.latency.replay import LatencyDistribution
from wdmoe_env.settings.devices import ComputeSettings, DeviceSettings
from wdmoe_env.settings.parts import ModelSettings
from wdmoe_env.simulator.state import SimulatorState
from wdmoe_env.system.channel import path_loss_db

SPLIT: Final[Split] = "test"
"""Of gate weights: what training never sees."""


class SpedUp(ComputeSettings):
    """A device that computes `speed` times as fast as another compute model says.

    It is not registered: scenario files cannot name it.
    """

    kind: Literal["sped-up"] = "sped-up"
    of: SerializeAsAny[ComputeSettings]
    speed: Annotated[float, Field(gt=0.0, le=100.0)]

    def expert_time(self, model: ModelSettings, tokens: int) -> tuple[float, float]:
        """Seconds of one expert on an idle device: (once it is used, for each token)."""
        fixed, per_token = self.of.expert_time(model, tokens)
        return fixed / self.speed, per_token / self.speed

    def recording(self, model: ModelSettings, tokens: int) -> LatencyReplay | None:
        """The measurements, all times shorter alike."""
        found = self.of.recording(model, tokens)
        if found is None:
            return None
        if isinstance(found, LatencyDistribution):
            return LatencyDistribution(found.table / self.speed)
        return replace(found, latency_s=found.latency_s / self.speed, median_s=found.median_s / self.speed)

    def memory_gb(self) -> float | None:
        """That of the device as it is."""
        return self.of.memory_gb()


def changed(scenario: Scenario, band: float | None, speed: Mapping[int, float]) -> Scenario:
    """A scenario with another bandwidth, Hz, and with devices that compute so many times as fast.

    Raises:
        ValueError: there is no such device, or the scenario cannot be so.
    """
    _check_devices(speed, scenario, "speed")
    if band is not None:
        scenario = load_scenario(scenario, radio={"bandwidth_hz": band})
    if not speed:
        return scenario
    devices = tuple(_device(scenario, device, speed.get(device, 1.0)) for device in range(scenario.num_devices))
    # Not `model_copy`, which takes over what was derived from the devices before.
    return Scenario.model_construct(**{**dict(scenario), "devices": devices})


def _device(scenario: Scenario, device: int, speed: float) -> DeviceSettings:
    group = scenario.device_groups[device]
    compute = group.compute if speed == 1.0 else SpedUp(of=group.compute, speed=speed)
    return group.model_copy(update={"name": scenario.device_names[device], "count": 1, "compute": compute})


def placed(scenario: Scenario) -> bool:
    """Whether links depend on where devices are: with recorded gains they do not."""
    return scenario.radio_replay is None


def begin(scenario: Scenario, seed: int, distance: Mapping[int, float]) -> Simulator:
    """A simulator of one cell at the start of an episode, with devices at other distances, m.

    A device keeps its direction, its sight, its shadowing and its fading; only the path loss changes.

    Raises:
        ValueError: there is no such device, or the scenario replays recorded links.
    """
    _check_devices(distance, scenario, "distance")
    if distance and not placed(scenario):
        raise ValueError(
            f"distance is given, but scenario {scenario.name!r} replays recorded links wherever devices are"
        )
    simulator = Simulator(scenario, 1, SPLIT)
    simulator.reset(seed)
    if distance:
        simulator.restore(_moved(simulator.state(), scenario, distance))
    return simulator


def _moved(state: SimulatorState, scenario: Scenario, distance: Mapping[int, float]) -> SimulatorState:
    cell = state.cell
    before = np.abs(cell.position)
    after = before.copy()
    after[0, list(distance)] = list(distance.values())
    change = np.power(10.0, 0.1 * (_loss(scenario, before, cell.sight) - _loss(scenario, after, cell.sight)))[:, None]
    gains = {name: getattr(cell, name) * change for name in ("path_gain", "gain", "known_gain", "average_gain")}
    return replace(state, cell=replace(cell, position=cell.position * (after / before), **gains))


def _loss(scenario: Scenario, distance_m: FloatArray, sight: FloatArray) -> FloatArray:
    return path_loss_db(distance_m, scenario.radio.carrier_ghz, scenario.channel.path_loss, sight)


def _check_devices(values: Mapping[int, float], scenario: Scenario, name: str) -> None:
    if beyond := [device for device in values if device >= scenario.num_devices]:
        raise ValueError(f"{name} names device {beyond[0]}, expected 0 to {scenario.num_devices - 1}")
