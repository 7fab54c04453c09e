"""The one simulator: N cells at once; `gymnasium.make`, `make_vec`, SB3 and `evaluate.py` all step this."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdmoe_env import allocation
from wdmoe_env.arrays import BoolArray, FloatArray, GateArray
from wdmoe_env.gating.bank import Split, gate_bank
from wdmoe_env.gating.external import check_gates
from wdmoe_env.interface import Decision, Observation, Outcome, plain_routing, plain_sums
from wdmoe_env.scenario import Scenario
from wdmoe_env.simulator.decision_check import check_values, in_form
from wdmoe_env.simulator.dynamics import Dynamics
from wdmoe_env.simulator.state import CellState, SimulatorState, freeze, with_own_rng
from wdmoe_env.simulator.step_metrics import step_metrics
from wdmoe_env.system import metrics, selection
from wdmoe_env.system.availability import mask_gates, reassign
from wdmoe_env.system.latency import carrier_to_noise_density
from wdmoe_env.system.layer import LayerTimes, layer_times
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
        if isinstance(num_envs, bool) or not isinstance(num_envs, (int, np.integer)):
            raise TypeError(f"num_envs is {num_envs!r:.60}, a {type(num_envs).__name__}, expected a whole number")
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}, expected at least 1")
        self.scenario, self.num_envs, self.split = scenario, num_envs, split
        self._bank = gate_bank(scenario.gating, scenario.model, scenario.traffic.tokens, split)
        self._dynamics = Dynamics(scenario, num_envs, self._bank.passes, split)
        self._radio, self._compute = scenario.radio_link, scenario.compute_model
        self._uniform = allocation.uniform(scenario, num_envs)
        self._state: SimulatorState | None = None
        self._observation: Observation | None = None
        self._plain: tuple[Observation, tuple[Routing, LayerTimes, FloatArray]] | None = None

    @property
    def _now(self) -> SimulatorState:
        if self._state is None:
            raise RuntimeError("call reset() before the first step()")
        return self._state

    @property
    def cell(self) -> CellState:
        """The cells as they truly are now; read-only.

        Raises:
            RuntimeError: `reset` was not called yet. So do all that tell of now.
        """
        return freeze(self._now.cell)

    @property
    def passes(self) -> NDArray[np.int64]:
        """(N,) row of the gate bank's forward passes that each environment replays now; read-only."""
        return freeze(self._now).passes

    @property
    def steps(self) -> int:
        """Steps since the episodes began."""
        return self._now.step

    @property
    def observation(self) -> Observation:
        """What is known now."""
        if self._observation is None:
            self._observation = self._observe(self._now)
        return self._observation

    def true_observation(self) -> Observation:
        """The observation as it would be if the base station knew every channel, and measured devices, at once.

        For oracles and bounds: what is observed may be stale or noisy, what happens follows from these gains, and of
        measured devices it takes no less than `Observation.compute` says.
        """
        compute = self._dynamics.replay.lower_model(self._now.compute) if self._dynamics.replay.measured else None
        known = self.observation
        downlink, uplink = self.cell.gain[:, 0], self.cell.gain[:, 1]
        seen = replace(known, gain_dl=downlink, gain_ul=uplink, compute=compute)
        seen = replace(seen, average_gain_dl=downlink, average_gain_ul=uplink)
        return freeze(seen)

    def expert_table(self) -> FloatArray:
        """Seconds that each expert takes in this layer for 0 to J tokens, on an idle device: (J + 1, N, E)."""
        return self._dynamics.replay.expert_table(self._now.compute)

    def compute_time(self, tokens_per_expert: FloatArray) -> FloatArray:
        """Seconds that each device computes in this layer: (N, U), from (N, E) token counts."""
        now = self._now
        return self._dynamics.replay.compute_time(now.compute, tokens_per_expert, now.cell.load)

    def reset(self, seed: int | None = None) -> Observation:
        """Start new episodes in all environments; a seed fully determines them, None goes on from the last state."""
        goes_on = seed is None and self._state is not None
        return self._enter(self._dynamics.start(self._now.rng if goes_on else np.random.default_rng(seed)))

    @property
    def _living(self) -> BoolArray | None:
        """(N, E) experts whose device is there; None where all are."""
        present = self._now.cell.present
        return None if present is None or present.all() else present[:, self._compute.host]

    def _masked(self, seen: Observation, living: BoolArray) -> Observation:
        """What is seen of the (N, E) experts that are there: their gate weights, and plain routing among them."""
        weights = mask_gates(seen.gate_weights, living)
        # Fewer than K may be there.
        routed = _reassigned(weights, selection.top_k(weights, self.scenario.model.top_k), living)
        return replace(seen, gate_weights=weights, routed=routed, plain=selection.plain_sums(weights, routed))

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
        given = check_gates(gate_weights, known.gate_weights.shape, self.scenario.model.top_k)
        seen = replace(known, gate_weights=given.weights, routed=given.routed, plain=given.plain)
        if (living := self._living) is not None:
            seen = self._masked(seen, living)
        self._observation = freeze(seen)
        return seen

    def step(self, decision: Decision) -> Outcome:
        """Run one layer as decided, and let the time pass that it took.

        Raises:
            ValueError: a shape, a type or a value of the decision is wrong.
            RuntimeError: `reset` was not called yet.
        """
        times, values = self._run(decision)
        observation = self._enter(self._dynamics.advance(self._now, times))
        truncated = np.full(self.num_envs, self.steps >= self.scenario.steps_per_episode)
        return Outcome(observation, values["reward"], truncated, values)

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
        decision = in_form(decision, self.scenario, self.num_envs)
        if (living := self._living) is not None:
            decision = replace(decision, selection=_reassigned(gate_weights, decision.selection, living))
        routing = selection.routing(gate_weights, decision.selection)
        check_values(decision, routing, self.scenario)
        plain, plain_times, cn0 = self._plain_layer()
        times = self._times(routing, decision.selection, decision.bandwidth, cn0)
        return times, step_metrics((routing, times), (plain, plain_times), self.scenario)

    def _plain_layer(self) -> tuple[Routing, LayerTimes, FloatArray]:
        """Plain top-K routing with equal shares, its times, and the true C/N0: once for each layer."""
        observation, known = self.observation, self._plain
        if known is None or known[0] is not observation:
            gain = self._now.cell.gain
            cn0 = carrier_to_noise_density(gain[:, 0], gain[:, 1], self._radio)
            plain = self._plain_routing(observation)
            routed = plain_routing(observation, self.scenario.model.top_k) if self.scenario.sends_once else None
            known = self._plain = observation, (plain, self._times(plain, routed, self._uniform, cn0), cn0)
        return known[1]

    def _times(self, routing: Routing, chosen: BoolArray | None, bandwidth: FloatArray, cn0: FloatArray) -> LayerTimes:
        computation, tokens = self.compute_time(routing.tokens), self._compute.per_device(routing.tokens)
        sent = None
        if self.scenario.sends_once and chosen is not None:
            sent = selection.tokens_per_device(chosen, self._compute.host, self.scenario.num_devices)
        return layer_times(tokens, computation, bandwidth, cn0, self._radio, sent)

    def _plain_routing(self, observation: Observation) -> Routing:
        """What plain top-K routing asks of the experts in this layer; every token uses K of them."""
        k = self.scenario.model.top_k
        if self._living is not None and observation.routed is not None:
            return selection.routing(observation.gate_weights, observation.routed)
        sums = plain_sums(observation, k)
        return Routing(sums.tokens, sums.mass, sums.mass / k, k, k)

    def _enter(self, state: SimulatorState) -> Observation:
        """Be in a state from now on, and return what is known in it."""
        self._state, self._observation = state, None
        return self.observation

    def _observe(self, state: SimulatorState) -> Observation:
        cell, layers = state.cell, self.scenario.model.layers
        row = state.passes * layers + state.step % layers
        seen = Observation(
            gain_dl=cell.known_gain[:, 0],
            gain_ul=cell.known_gain[:, 1],
            average_gain_dl=cell.average_gain[:, 0],
            average_gain_ul=cell.average_gain[:, 1],
            gate_weights=self._bank.weights[row].swapaxes(1, 2),
            load=cell.load,
            last_device_time=state.last_device_time,
            layer=np.full(self.num_envs, state.step % layers),
            routed=self._bank.routed[row].swapaxes(1, 2),
            plain=PlainSums(self._bank.plain.table[row]),
        )
        if (living := self._living) is not None and (there := cell.present) is not None:
            seen = self._masked(seen, living)
            seen = replace(seen, gain_dl=np.where(there, seen.gain_dl, 0.0), gain_ul=np.where(there, seen.gain_ul, 0.0))
        return freeze(seen)

    def state(self) -> SimulatorState:
        """Everything the future depends on, with a Generator of its own: it stays as it is.

        Weights from `show_gates` are no part of it: the bank's stand again when restored.
        """
        return with_own_rng(freeze(self._now))

    def restore(self, state: SimulatorState) -> Observation:
        """Go on from what `state` returned, in a simulator of the same scenario and size. The state stays as it is.

        Where `show_gates` was called for the layer that is decided next, call it again.

        Raises:
            ValueError: the state is one of another scenario or size; the first field that does not fit is named.
        """
        self._dynamics.check(state)
        return self._enter(with_own_rng(state))

    def __deepcopy__(self, memo: dict[int, Any]) -> Simulator:
        other = copy.copy(self)
        if self._state is not None:
            other._state = with_own_rng(self._state)
        return other

    def copy(self) -> Simulator:
        """Another simulator that is where this one is: given the same decisions both bring the same, independently."""
        return copy.deepcopy(self)


def _reassigned(gate_weights: GateArray, chosen: BoolArray, living: BoolArray) -> BoolArray:
    """A (N, J, E) selection without the experts that are gone, by (N, E) which are there: next-best ones take over."""
    shape = chosen.shape
    each = np.repeat(living, shape[1], axis=0)
    return reassign(gate_weights.reshape(each.shape), chosen.reshape(each.shape), each).reshape(shape)
