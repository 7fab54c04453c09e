"""The one simulator: N cells at once; `gymnasium.make`, `make_vec`, SB3 and `evaluate.py` all step this."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdmoe_env import allocation
from wdmoe_env.arrays import FloatArray, GateArray
from wdmoe_env.gating.bank import Split, gate_bank
from wdmoe_env.gating.shown import show
from wdmoe_env.interface import Decision, Observation, Outcome, plain_sums
from wdmoe_env.scenario import Scenario
from wdmoe_env.simulator.cell import Cell
from wdmoe_env.simulator.compute_replay import ComputeReplay
from wdmoe_env.simulator.decision_check import check_form, check_values
from wdmoe_env.system import metrics, selection
from wdmoe_env.system.latency import snr_bandwidth
from wdmoe_env.system.layer import LayerTimes, layer_times, weight_to_latency
from wdmoe_env.system.selection import PlainSums, Routing


class Simulator:
    """N independent cells that run the layers of a mixture-of-experts model, one decision a layer.

    Randomness: one Generator. `reset(seed)` fully determines what follows, and each step draws the same number of
    variates whatever is decided, so that policies run on the same seed meet the same channels and gate weights. All
    episodes have the same length, so all N environments truncate together.

    Args:
        scenario: what is simulated.
        num_envs: N, at least 1.
        split: `train`, `validation` or `test`: which bank of gate weights passes are drawn from.

    >>> from wdmoe_env import load_scenario
    >>> simulator = Simulator(load_scenario("paper"), num_envs=4)
    >>> simulator.reset(seed=0).gate_weights.shape
    (4, 64, 8)
    """

    def __init__(self, scenario: Scenario, num_envs: int = 1, split: Split = "train") -> None:
        if not isinstance(scenario, Scenario):
            raise TypeError(f"scenario is a {type(scenario).__name__}, expected a Scenario: see load_scenario()")
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}, expected at least 1")
        self.scenario, self.num_envs, self.split = scenario, num_envs, split
        self.cell, self.compute_replay = Cell(scenario, num_envs), ComputeReplay(scenario, num_envs)
        self._bank = gate_bank(scenario.gating, scenario.model, scenario.traffic.tokens, split)
        self._radio, self._compute = scenario.radio_link, scenario.compute_model
        shape = (num_envs, scenario.num_devices)
        self._uniform = allocation.uniform(scenario, num_envs)
        self._last_device_time = np.zeros(shape)
        self._passes = np.zeros(num_envs, dtype=np.int64)
        self._step = 0
        self._rng = np.random.default_rng()
        self._observation: Observation | None = None
        self._plain: tuple[Observation, tuple[Routing, LayerTimes, FloatArray]] | None = None

    @property
    def passes(self) -> NDArray[np.int64]:
        """(N,) row of the gate bank's forward passes that each environment replays now."""
        return self._passes

    @property
    def observation(self) -> Observation:
        """What is known now.

        Raises:
            RuntimeError: `reset` was not called yet.
        """
        if self._observation is None:
            raise RuntimeError("call reset() before the first step()")
        return self._observation

    def true_observation(self) -> Observation:
        """The observation as it would be if the base station knew every channel, and measured devices, at once.

        For oracles and bounds: what is observed may be stale or noisy, what happens follows from these gains, and of
        measured devices it takes no less than `Observation.compute` says.
        """
        compute = self.compute_replay.lower_model() if self.compute_replay.measured else None
        known = self.observation
        downlink, uplink = self.cell.gain[:, 0], self.cell.gain[:, 1]
        seen = replace(known, gain_dl=downlink, gain_ul=uplink, compute=compute)
        seen = replace(seen, average_gain_dl=downlink, average_gain_ul=uplink)
        _freeze(seen)
        return seen

    @property
    def steps(self) -> int:
        """Steps since the episodes began."""
        return self._step

    def reset(self, seed: int | None = None) -> Observation:
        """Start new episodes in all environments; a seed fully determines them, None goes on from the last state."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self.cell.reset(self._rng)
        self.compute_replay.reset(self._rng)
        self._last_device_time = np.zeros_like(self._last_device_time)
        self._step = 0
        return self._next_layer()

    def show_gates(self, gate_weights: GateArray) -> Observation:
        """Put a real router's weights in the place of the bank's, for the layer that is decided next and no other.

        Rewards, references, bounds and features follow from them. Random draws stay the same, and the bank's own
        weights change nothing.

        Args:
            gate_weights: (N, J, E) router softmax over all experts; each token's row sums to 1. They are copied.

        Raises:
            ValueError: the shape or a value is wrong.
            RuntimeError: `reset` was not called yet.
        """
        known = self.observation
        shown = show(gate_weights, known.gate_weights.shape, self.scenario.model.top_k)
        seen = replace(known, gate_weights=shown.weights, routed=shown.routed, plain=shown.plain)
        _freeze(seen)
        self._observation = seen
        return seen

    def step(self, decision: Decision) -> Outcome:
        """Run one layer as decided, and let the time pass that it took.

        Raises:
            ValueError: a shape, a type or a value of the decision is wrong.
            RuntimeError: `reset` was not called yet.
        """
        times, values = self._run(decision)
        self._advance(times)
        truncated = np.full(self.num_envs, self._step >= self.scenario.steps_per_episode)
        return Outcome(self._next_layer(), values["reward"], truncated, values)

    def preview(self, decision: Decision) -> dict[str, NDArray[Any]]:
        """The metrics that `step` would bring for this decision; nothing happens, and nothing is drawn.

        Raises:
            ValueError: a shape, a type or a value of the decision is wrong.
            RuntimeError: `reset` was not called yet.
        """
        return self._run(decision)[1]

    def reference(self) -> FloatArray:
        """Block WLR that plain top-K routing with equal shares of the band would really have in this layer: (N,) 1/s.

        For bounds: what the reward is relative to.
        """
        plain, times, _ = self._plain_layer()
        return metrics.wlr(plain.mass, times.latency)

    def _run(self, decision: Decision) -> tuple[LayerTimes, dict[str, NDArray[Any]]]:
        """Times and metrics of this layer as decided, in the cell as it truly is."""
        gate_weights = self.observation.gate_weights
        check_form(decision, self.scenario, self.num_envs)
        routing = selection.routing(gate_weights, decision.selection)
        check_values(decision, routing, self.scenario)
        plain, plain_times, reach = self._plain_layer()
        times = self._times(routing, decision.bandwidth, reach)
        return times, self._judge(routing, times, plain, plain_times)

    def _plain_layer(self) -> tuple[Routing, LayerTimes, FloatArray]:
        """Plain top-K routing with equal shares, its times, and the true reach: worked out once for each layer."""
        observation, known = self.observation, self._plain
        if known is None or known[0] is not observation:
            reach = snr_bandwidth(self.cell.gain[:, 0], self.cell.gain[:, 1], self._radio)
            plain = self._plain_routing(observation)
            known = self._plain = observation, (plain, self._times(plain, self._uniform, reach), reach)
        return known[1]

    def _times(self, routing: Routing, bandwidth: FloatArray, reach: FloatArray) -> LayerTimes:
        computation = self.compute_replay.compute_time(routing.tokens, self.cell.load)
        return layer_times(self._compute.per_device(routing.tokens), computation, bandwidth, reach, self._radio)

    def _row(self) -> NDArray[np.int64]:
        layers = self.scenario.model.layers
        return self._passes * layers + self._step % layers

    def _next_layer(self) -> Observation:
        if self._step % self.scenario.model.layers == 0:
            self._passes = self._rng.integers(self._bank.passes, size=self.num_envs)
        return self._look()

    def _look(self) -> Observation:
        row = self._row()
        self._observation = Observation(
            gain_dl=self.cell.known_gain[:, 0],
            gain_ul=self.cell.known_gain[:, 1],
            average_gain_dl=self.cell.average_gain[:, 0],
            average_gain_ul=self.cell.average_gain[:, 1],
            gate_weights=self._bank.weights[row].swapaxes(1, 2),
            load=self.cell.load,
            last_device_time=self._last_device_time,
            layer=np.full(self.num_envs, self._step % self.scenario.model.layers),
            routed=self._bank.routed[row].swapaxes(1, 2),
            plain=PlainSums(self._bank.plain.table[row]),
        )
        _freeze(self._observation)
        return self._observation

    def _plain_routing(self, observation: Observation) -> Routing:
        """What plain top-K routing asks of the experts in this layer; every token uses K of them."""
        k = self.scenario.model.top_k
        sums = plain_sums(observation, k)
        return Routing(sums.tokens, sums.mass, sums.mass / k, k, k)

    def _judge(
        self, routing: Routing, times: LayerTimes, plain: Routing, plain_times: LayerTimes
    ) -> dict[str, NDArray[Any]]:
        setting, tokens = self.scenario.reward, self.scenario.traffic.tokens
        ratios = {
            name: weight_to_latency(name, routing, times, self._compute, tokens)
            for name in ("wlr", "wlr_token", "wlr_device")
        }
        reference: FloatArray | float = 1.0
        if setting.normalize == "top-k":
            reference = weight_to_latency(setting.metric, plain, plain_times, self._compute, tokens)
        retained = metrics.retained_mass(routing.mass, plain.mass.sum(axis=-1))
        return {
            "latency": times.latency,
            "latency_top_k": plain_times.latency,
            **ratios,
            "retained_mass": retained,
            "experts_per_token": routing.tokens.sum(axis=-1) / tokens,
            "reward": metrics.reward(ratios[setting.metric], reference, retained, setting.mass_floor, setting.penalty),
            "bottleneck": metrics.bottleneck(times.device),
        }

    def _advance(self, times: LayerTimes) -> None:
        traffic = self.scenario.traffic
        self._step += 1
        gap = traffic.layer_gap_s
        if self._step % self.scenario.model.layers == 0:
            gap += traffic.pass_gap_s
        self.cell.advance(self._rng, times.latency + gap, times.computation)
        self.compute_replay.advance(self._rng)
        self._last_device_time = times.device

    def state(self) -> dict[str, Any]:
        """Everything the future depends on: arrays under `arrays`, the generator and the step as plain values.

        Weights from `show_gates` are no part of it: they are their router's, and the bank's stand again when restored.
        """
        arrays: dict[str, NDArray[Any]] = {f"cell.{name}": value for name, value in self.cell.state().items()}
        arrays |= {f"compute.{name}": value for name, value in self.compute_replay.state().items()}
        arrays |= {"passes": self._passes.copy(), "last_device_time": self._last_device_time.copy()}
        return {"arrays": arrays, "rng": self._rng.bit_generator.state, "step": self._step}

    def restore(self, state: dict[str, Any]) -> Observation:
        """Go on from what `state` returned, in a simulator of the same scenario and size.

        Where `show_gates` was called for the layer that is decided next, call it again.
        """
        arrays = state["arrays"]
        self.cell.restore({name: arrays[f"cell.{name}"] for name in self.cell.STATE})
        self.compute_replay.restore({name: arrays[f"compute.{name}"] for name in self.compute_replay.state()})
        self._passes = np.array(arrays["passes"])
        self._last_device_time = np.array(arrays["last_device_time"])
        self._step = int(state["step"])
        self._rng.bit_generator.state = state["rng"]
        return self._look()


def _freeze(observation: Observation) -> None:
    """Make an observation read-only: its arrays are the simulator's own, and a policy must not change the cell."""
    seen = observation
    gains = seen.gain_dl, seen.gain_ul, seen.average_gain_dl, seen.average_gain_ul
    for array in (*gains, seen.gate_weights, seen.load, seen.last_device_time, seen.layer):
        array.flags.writeable = False
    if seen.routed is not None and seen.plain is not None:
        seen.routed.flags.writeable = seen.plain.table.flags.writeable = False
