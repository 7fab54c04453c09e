"""The words everything speaks: what a policy sees, what it decides, what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from wdmoe_env.arrays import Batch, BoolArray, FloatArray, GateArray, IntArray
from wdmoe_env.system import selection
from wdmoe_env.system.compute import ComputeModel
from wdmoe_env.system.selection import PlainSums


@dataclass(frozen=True, slots=True)
class Observation(Batch):
    """What a policy may know before it decides a layer, for N environments at once.

    Attributes:
        gain_dl: (N, U) downlink channel power gains, linear, as the base station knows them (they may be stale).
        gain_ul: (N, U) uplink channel power gains, linear.
        gate_weights: (N, J, E) router softmax over all experts; each token's row sums to 1.
        load: (N, U) share of each device's compute that is taken, 0 to 0.95.
        last_device_time: (N, U) seconds each device took in the step before; 0 where nothing was measured.
        layer: (N,) index of the MoE layer that is decided, 0 to I - 1.
        average_gain_dl, average_gain_ul: (N, U) geometric running means of the known gains, the newest weighing
            `wdmoe_env.simulator.cell.NEWEST`; the gains themselves where the channel is known at once, without error.
        routed: (N, J, E) plain top-K routing of `gate_weights`, where the simulator knows it already.
        plain: what that routing asks of each expert, where the simulator knows it already.
        compute: for oracles and bounds, in scenarios with measured devices: the devices' true compute in this layer, as
            (N, U) affine functions that are nowhere above the times of 1 to J tokens of an expert. None for policies.
    """

    gain_dl: FloatArray
    gain_ul: FloatArray
    gate_weights: GateArray
    load: FloatArray
    last_device_time: FloatArray
    layer: IntArray
    average_gain_dl: FloatArray
    average_gain_ul: FloatArray
    routed: BoolArray | None = None
    plain: PlainSums | None = None
    compute: ComputeModel | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Which experts each token uses, and how the band is split, for N environments at once.

    Attributes:
        selection: (N, J, E) bool; every token keeps between 1 and K experts.
        bandwidth: (N, U) Hz, not negative; each row sums to at most the scenario's bandwidth.
    """

    selection: BoolArray
    bandwidth: FloatArray


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step brought.

    Attributes:
        observation: what is known before the next layer.
        reward: (N,) the scenario's reward.
        truncated: (N,) True where the episode's last layer was run.
        metrics: one (N,) array for each name in `wdmoe_env.system.metrics.SCHEMA`.
    """

    observation: Observation
    reward: FloatArray
    truncated: BoolArray
    metrics: Mapping[str, NDArray[Any]]


def plain_routing(observation: Observation, k: int) -> BoolArray:
    """Plain top-K routing of an observation, (N, J, E), taken over where the simulator has it."""
    return selection.top_k(observation.gate_weights, k) if observation.routed is None else observation.routed


def plain_sums(observation: Observation, k: int) -> PlainSums:
    """What plain top-K routing of an observation asks of each expert, taken over where the simulator has it."""
    if observation.plain is not None:
        return observation.plain
    return selection.plain_sums(observation.gate_weights, plain_routing(observation, k))
