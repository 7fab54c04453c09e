"""A cell whose layers are run for real: the simulator predicts, the devices do it, and both are kept."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wdmoe_env import allocation
from wdmoe_env.arrays import FloatArray, GateArray
from wdmoe_env.gating.bank import Split
from wdmoe_env.interface import Decision, Observation, Outcome
from wdmoe_env.moe.rules import Rule
from wdmoe_env.scenario import Scenario
from wdmoe_env.simulator.simulator import Simulator
from wdmoe_env.simulator.state import SimulatorState
from wdmoe_env.simulator.step_metrics import Layer, step_metrics
from wdmoe_env.system import selection
from wdmoe_env.system.availability import mask_gates
from wdmoe_env.system.latency import LN2, carrier_to_noise_density, rate
from wdmoe_env.system.layer import LayerTimes
from wdmoe_env.testbed.estimates import LinkEstimates
from wdmoe_env.testbed.kernel import Links
from wdmoe_env.testbed.layer import LayerRecord, LayerRun, Order, Pace
from wdmoe_env.testbed.station import Station


@dataclass(frozen=True)
class _Pending:
    """A layer that was decided and is to be run."""

    forward: int
    layer: int
    gates: GateArray
    softmax: GateArray
    decision: Decision
    times: LayerTimes
    plain: Layer
    pace: Pace | None
    load: FloatArray


class LiveCell(Simulator):
    """One cell: a step decides and predicts a layer, then `run` has the devices do it.

    What is observed is what is really known: gate weights of these tokens, times that the devices took, and of links
    the scenario's channel, or for `none` estimates from past transfers, and the loads that devices report.
    A device that is not there has no channel.

    Args:
        scenario: what is predicted, and but for `none` also what the links and devices are made to be.
        station: its devices, one for each of the scenario's.
        rule: of the model's routers.
        links: what they are.
        slow_down: by what all emulated times are stretched; what is measured is divided by it.
        padded: whether payloads are as large as those of the scenario's model.
        split: of the bank of gate weights; only its random draws matter.
    """

    def __init__(
        self,
        scenario: Scenario,
        station: Station,
        rule: Rule,
        links: Links = "paced",
        slow_down: float = 1.0,
        padded: bool = True,
        split: Split = "test",
    ) -> None:
        super().__init__(scenario, 1, split)
        if len(station.links) != scenario.num_devices:
            raise ValueError(
                f"the testbed has {len(station.links)} devices, expected the {scenario.num_devices} of scenario "
                f"{scenario.name!r}"
            )
        if links == "kernel" and station.kernel is None:
            raise ValueError("links are 'kernel', but the testbed was opened without them")
        if not slow_down >= 1.0 or (links == "none" and slow_down != 1.0):
            raise ValueError(f"slow-down is {slow_down}, expected at least 1, and 1 where nothing is emulated")
        self.station, self.rule, self.links, self.slow_down, self.padded = station, rule, links, slow_down, padded
        self.estimates = LinkEstimates(scenario)
        self.records: list[LayerRecord] = []
        self._pending: _Pending | None = None
        self._clock = self._shown = 0.0
        self._softmax: GateArray = np.zeros(0)
        self._last_device_time = np.zeros((1, scenario.num_devices))

    def reset(self, seed: int | None = None) -> Observation:
        """Start a new episode; what was recorded stays."""
        self._pending, self._last_device_time = None, np.zeros_like(self._last_device_time)
        return super().reset(seed)

    def follow(self, other: LiveCell) -> None:
        """Go on where the cell of passes of another size is: same channels, clock and knowledge."""
        self.restore(replace(other.state(), cells=self._dynamics.digest))
        self.estimates, self._last_device_time, self._clock = other.estimates, other._last_device_time, other._clock

    def show_gates(self, gate_weights: GateArray) -> Observation:
        """What is known before a layer whose router gave these (1, J, E) weights."""
        self._shown = time.perf_counter()
        if self.links == "none":
            self._impose(self.estimates.gain(), self.estimates.load)
        living = self.station.living
        self._softmax = gate_weights[0]
        there = living[self.scenario.hosts][None]
        # As the simulator shows devices that come and go. Where none is left, whoever runs the layer says so.
        seen = super().show_gates(mask_gates(gate_weights, there) if there.any() and not there.all() else gate_weights)
        observed = replace(
            seen,
            gain_dl=np.where(living, seen.gain_dl, 0.0),
            gain_ul=np.where(living, seen.gain_ul, 0.0),
            last_device_time=self._last_device_time,
        )
        self._observation = observed
        return observed

    def _impose(self, gain: FloatArray, load: FloatArray) -> None:
        """Have the links and loads that were measured take the place of the simulated ones."""
        cell, both = self._now.cell, gain[None]
        cell = replace(cell, gain=both, known_gain=both, average_gain=both, load=load[None])
        self._enter(replace(self._now, cell=cell))

    def step(self, decision: Decision) -> Outcome:
        """Predict a layer as decided, and let the predicted time pass; `run` is due next.

        Raises:
            RuntimeError: the layer before was decided, but never run.
        """
        if self._pending is not None:
            raise RuntimeError(f"layer {self._pending.layer} was decided, but not run")
        now, gates = self._now, self.observation.gate_weights
        if self.links == "none":
            decision = replace(decision, bandwidth=allocation.uniform(self.scenario, 1))
        plain, plain_times, _ = self._plain_layer()
        outcome = super().step(decision)
        forward, layer = divmod(now.step, self.scenario.model.layers)
        self._pending = _Pending(
            forward,
            layer,
            gates,
            self._softmax,
            decision,
            self._predicted,
            (plain, plain_times),
            None if self.links == "none" else self._pace(now, decision),
            now.cell.load[0],
        )
        return outcome

    def _run(self, decision: Decision) -> tuple[LayerTimes, dict[str, NDArray[Any]]]:
        times, values = super()._run(decision)
        self._predicted = times
        return times, values

    def _pace(self, now: SimulatorState, decision: Decision) -> Pace:
        """What links and devices are made to be, in a state of the cell."""
        radio, slow = self._radio, self.slow_down
        cn0 = carrier_to_noise_density(now.cell.gain[:, 0], now.cell.gain[:, 1], radio)
        bit_s = np.maximum(rate(decision.bandwidth, cn0), radio.outage_rate)[:, 0] / LN2 / slow

        def hold(tokens: FloatArray) -> FloatArray:
            replay = self._dynamics.replay
            return replay.compute_time(now.compute, tokens[None], now.cell.load)[0] * slow

        padded = int(np.ceil(self.scenario.model.payload_bits / 8.0)) if self.padded else 0
        return Pace(bit_s[0], bit_s[1], hold, padded)

    def run(self, layer: int, rows: Tensor, experts: Tensor, weights: Tensor) -> Tensor:
        """Run the layer that was decided: (T, H) weighted sums of (T, H) rows, for `split_model.RemoteExperts`.

        Args:
            layer: MoE layer.
            rows: what goes into the experts.
            experts: (T, K) that each token uses.
            weights: (T, K) of them, 0 in empty slots.

        Raises:
            RuntimeError: another layer was decided, or none.
        """
        pending, self._pending = self._pending, None
        if pending is None or pending.layer != layer:
            raise RuntimeError(
                f"layer {layer} is to be run, but {'none' if pending is None else pending.layer} was decided"
            )
        gates = pending.softmax
        probabilities = torch.tensor(gates, dtype=torch.float32)
        logits = probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()
        chosen = pending.decision.selection[0]
        spread = torch.zeros(probabilities.shape).scatter_add_(1, experts.cpu(), weights.float().cpu())
        order = Order(
            forward=pending.forward,
            layer=layer,
            rows=rows.detach().float().cpu(),
            weights=spread,
            selection=chosen,
            gate_weights=gates,
            rescore=lambda kept: self.rule.scores(probabilities, logits, torch.from_numpy(kept)),
            pace=pending.pace,
        )
        if pending.pace is not None and self.links == "kernel":
            assert self.station.kernel is not None
            rates = np.stack([pending.pace.down_bit_s, pending.pace.up_bit_s])
            self.station.kernel.set_rates(rates)
            order = replace(order, pace=replace(pending.pace, down_bit_s=0.0 * rates[0], up_bit_s=0.0 * rates[1]))
        begun = time.perf_counter()
        done = self.station.run(order)
        self._keep(pending, done, begun)
        return done.out.to(rows.device, rows.dtype)

    def _keep(self, pending: _Pending, done: LayerRun, begun: float) -> None:
        self.estimates.see(done.calls)
        slow, times = self.slow_down, pending.times
        device = done.device_s / slow
        computed = np.zeros(len(device))
        for call in done.calls:
            computed[call.device] += (call.compute_s + call.hold_s) / slow
        routing = selection.routing(pending.gates, done.selection[None])
        measured = LayerTimes(
            self._compute.per_device(routing.tokens), computed[None], device[None], np.array([done.latency_s / slow])
        )
        self._last_device_time = measured.device
        self.records.append(
            LayerRecord(
                predicted=float(times.latency[0]),
                measured=done.latency_s / slow,
                predicted_device=times.device[0],
                measured_device=device,
                predicted_compute=times.computation[0],
                metrics=step_metrics((routing, measured), pending.plain, self.scenario),
                lost_mass=done.lost_mass,
                calls=done.calls,
                selection=done.selection,
                bandwidth=pending.decision.bandwidth[0],
                load=pending.load,
                clock_s=self._clock,
                decision_s=begun - self._shown,
                slow_down=slow,
                paced=pending.pace is not None,
            )
        )
        traffic = self.scenario.traffic
        ends_pass = pending.layer + 1 == self.scenario.model.layers
        self._clock += done.latency_s / slow + traffic.layer_gap_s + (traffic.pass_gap_s if ends_pass else 0.0)

    def take_records(self) -> tuple[LayerRecord, ...]:
        """The layers since the last call."""
        found, self.records = tuple(self.records), []
        return found
