"""A layer on a testbed: what is asked for, what came of it, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor

from wdmoe_env.arrays import BoolArray, FloatArray, GateArray

Outcome = Literal["answered", "deadline", "failed"]
Rescore = Callable[[BoolArray], Tensor]
"""(T, E) weights of the experts by the model's own rule, from a (T, E) selection."""


@dataclass(frozen=True)
class Pace:
    """What the network and the devices are made to be, where they are emulated.

    Attributes:
        down_bit_s, up_bit_s: (U,) rate of each link; 0: as it is.
        hold: (U,) seconds that each device computes, from (E,) tokens of each expert; None: as it does.
        padded_bytes: what a token is padded to, in one direction; 0: not at all.
    """

    down_bit_s: FloatArray
    up_bit_s: FloatArray
    hold: Callable[[FloatArray], FloatArray] | None = None
    padded_bytes: int = 0


@dataclass(frozen=True)
class Order:
    """A layer to be run.

    Attributes:
        forward, layer: which.
        rows: (T, H) what goes into the experts.
        weights: (T, E) float32, by which the experts' outputs are summed; 0 where an expert is not used.
        selection: (T, E) bool.
        gate_weights: (T, E) router softmax, by which lost experts are replaced.
        rescore: weights of another selection.
        pace: what is emulated; None: nothing.
    """

    forward: int
    layer: int
    rows: Tensor
    weights: Tensor
    selection: BoolArray
    gate_weights: GateArray
    rescore: Rescore
    pace: Pace | None = None


@dataclass(frozen=True)
class CallRecord:
    """One call of one device, times in seconds.

    Attributes:
        forward, layer, attempt, device: which.
        outcome: what became of it.
        tokens: that were sent; each once.
        experts: of the device that were used.
        pairs: of a token and an expert.
        bytes_down, bytes_up: of the payloads.
        total_s: from the beginning of the layer to the last byte of the answer, or until it was given up.
        start_s: from the beginning of the layer until the call was sent.
        send_s: until the last byte of the call was handed over.
        receive_s, queue_s, copy_in_s, compute_s, copy_out_s, hold_s: the device's own, see `wire.Reply`.
        uplink_s: from the first to the last byte of the answer.
        load: what the device said of its load.
    """

    forward: int
    layer: int
    attempt: int
    device: int
    outcome: Outcome
    tokens: int
    experts: int
    pairs: int
    bytes_down: int
    bytes_up: int
    total_s: float
    start_s: float = 0.0
    send_s: float = 0.0
    receive_s: float = 0.0
    queue_s: float = 0.0
    copy_in_s: float = 0.0
    compute_s: float = 0.0
    copy_out_s: float = 0.0
    hold_s: float = 0.0
    uplink_s: float = 0.0
    load: float = 0.0


@dataclass(frozen=True)
class LayerRun:
    """What came of a layer.

    Attributes:
        out: (T, H) weighted sum of the experts' outputs.
        selection: (T, E) what really was computed.
        device_s: (U,) seconds until each device had answered for the last time; 0 without tokens.
        latency_s: until the sum was ready.
        lost_mass: gate weight of the choices that were lost, and not computed.
        calls: each of them.
    """

    out: Tensor
    selection: BoolArray
    device_s: FloatArray
    latency_s: float
    lost_mass: float
    calls: tuple[CallRecord, ...]


@dataclass(frozen=True)
class LayerRecord:
    """A layer as it was predicted, and as it was.

    Attributes:
        predicted: seconds of the same decision in the simulator.
        measured: seconds that it took, slow-down taken out.
        predicted_device, measured_device: (U,) the same of each device.
        predicted_compute: (U,) the part of the prediction that is computing.
        metrics: (1,) of each metric in `wdmoe_env.system.metrics.SCHEMA`, by what was measured.
        lost_mass: gate weight of the choices that were lost.
        calls: as they were, slow-down and all.
        selection: (T, E) what was computed.
        bandwidth: (U,) Hz of each link, as it was decided or assumed.
        load: (U,) of each device, as it was known.
        clock_s: when the layer began, by the cell's own clock: what passed in its episodes.
        decision_s: from the router's weights to the first byte, real seconds.
        slow_down: what emulated times were stretched by.
        paced: whether links and devices were emulated.
    """

    predicted: float
    measured: float
    predicted_device: FloatArray
    measured_device: FloatArray
    predicted_compute: FloatArray
    metrics: Mapping[str, NDArray[Any]]
    lost_mass: float
    calls: tuple[CallRecord, ...]
    selection: BoolArray
    bandwidth: FloatArray
    load: FloatArray
    clock_s: float
    decision_s: float
    slow_down: float
    paced: bool

    @property
    def attempts(self) -> int:
        """How often tokens had to be sent."""
        return max((call.attempt for call in self.calls), default=0)

    def parts(self, call: CallRecord) -> dict[str, float]:
        """Where the time of an answered call went, seconds, slow-down taken out; what is left over is overhead."""
        air = max(call.send_s, call.receive_s) + call.uplink_s
        compute, copy = call.compute_s + call.hold_s, call.copy_in_s + call.copy_out_s
        rest = call.total_s - air - compute - copy - call.queue_s
        named = {"air": air, "queue": call.queue_s, "copy": copy, "compute": compute, "overhead": rest}
        return {name: seconds / self.slow_down for name, seconds in named.items()}
