"""What follows from the compute models of a scenario's device groups: their times, and whether memory is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from wdmoe_env.arrays import FloatArray, IntArray
from wdmoe_env.settings.devices import ComputeSettings, DeviceSettings
from wdmoe_env.settings.parts import ModelSettings
from wdmoe_env.settings.quantities import MAX_EXPERT_S

Derived = TypeVar("Derived")


def of_each(devices: Sequence[DeviceSettings], derive: Callable[[ComputeSettings], Derived]) -> list[Derived]:
    """What follows from the compute model of each group.

    Raises:
        ValueError: of any; tells all faults at once, with their keys.
    """
    made, faults = [], []
    for number, group in enumerate(devices):
        try:
            made.append(derive(group.compute))
        except ValueError as error:
            faults.append(f"devices.{number}.compute: {error}")
    if faults:
        raise ValueError("\n  ".join(faults))
    return made


def expert_times(devices: Sequence[DeviceSettings], model: ModelSettings, tokens: int) -> tuple[FloatArray, FloatArray]:
    """Seconds of one expert on each idle device, once it is used and for each token: (U,) each.

    Raises:
        ValueError: a compute model cannot tell, or tells something that is no time.
    """

    def times(compute: ComputeSettings) -> tuple[float, float]:
        fixed, per_token = compute.expert_time(model, tokens)
        # Written so that NaN fails it too.
        if not (0.0 <= fixed <= MAX_EXPERT_S and 0.0 <= per_token <= MAX_EXPERT_S):
            raise ValueError(
                f"kind {compute.kind!r} takes {fixed} s for an expert and {per_token} s for each token, expected "
                f"0 to {MAX_EXPERT_S:g}"
            )
        return fixed, per_token

    each = np.transpose(of_each(devices, times))
    fixed, per_token = np.repeat(each, [group.count for group in devices], axis=1)
    return fixed, per_token


def check_memory(devices: Sequence[DeviceSettings], model: ModelSettings, hosts: IntArray) -> None:
    """Refuse devices that cannot hold the experts that (E,) `hosts` gives them, where their memory is known.

    Raises:
        ValueError: names the device, what its experts need and what is free.
    """
    hosted = np.bincount(hosts).tolist()
    of_boards = of_each(devices, lambda compute: compute.memory_gb())
    first = 0
    for group, of_board in zip(devices, of_boards, strict=True):
        counts, memory = hosted[first : first + group.count], group.memory_gb or of_board
        for device, count in enumerate(counts, first):
            needed = count * model.layers * model.expert_bytes / 1e9
            if memory is not None and needed > memory - group.memory_reserve_gb:
                raise ValueError(
                    f"device {device} ({group.name!r}) cannot hold its {count} expert(s) of {model.name}: "
                    f"{model.layers} layers at {model.weight_bits:g} bits need {needed:.1f} GB, "
                    f"of {memory:g} GB at most {memory - group.memory_reserve_gb:.1f} GB are free"
                )
        first += group.count
