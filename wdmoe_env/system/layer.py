"""One MoE layer in one state of the cell: what a routing and a bandwidth split lead to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wdmoe_env.arrays import FloatArray
from wdmoe_env.system import metrics
from wdmoe_env.system.compute import ComputeModel
from wdmoe_env.system.latency import Radio, air_time, block_latency
from wdmoe_env.system.selection import Routing


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """Times of one layer, seconds.

    Attributes:
        tokens: (N, U) tokens of each device.
        computation: (N, U) time each device computes.
        device: (N, U) time until each device has answered.
        latency: (N,) time until all have.
    """

    tokens: FloatArray
    computation: FloatArray
    device: FloatArray
    latency: FloatArray


def layer_times(
    tokens: FloatArray,
    computation: FloatArray,
    bandwidth: FloatArray,
    cn0: FloatArray,
    radio: Radio,
    sent: FloatArray | None = None,
) -> LayerTimes:
    """Times of a layer from (N, U) tokens, seconds of computation and bandwidth, and (2, N, U) C/N0.

    `sent` are the (N, U) tokens on the air, where they are not once for each expert: see `radio.token_once`.
    """
    air = air_time(tokens if sent is None else sent, bandwidth, cn0, radio)
    times = air + computation
    if radio.message_s:
        times = times + radio.message_s * (tokens > 0.0)
    return LayerTimes(tokens, computation, times, block_latency(times))


def weight_to_latency(
    name: str, routing: Routing, times: LayerTimes, compute: ComputeModel, num_tokens: int
) -> FloatArray:
    """The ratio called `name` (`wlr`, `wlr_token` or `wlr_device`; formulas in `metrics`) of a layer: (N,), 1/s."""
    if name == "wlr":
        return metrics.wlr(routing.mass, times.latency)
    if name == "wlr_device":
        return metrics.wlr_device(compute.per_device(routing.mass), times.device)
    token_time = times.device / np.maximum(times.tokens, 1.0)
    return metrics.wlr_token(routing.share, compute.per_expert(token_time), num_tokens)
