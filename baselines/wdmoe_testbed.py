"""The paper's testbed variant (R): without channel state and bandwidth control, devices are judged by their past."""

from __future__ import annotations

import numpy as np

from baselines.policy import Baseline, check_flag, check_range
from wdmoe_env import allocation
from wdmoe_env.arrays import BoolArray, FloatArray, GateArray, IntArray
from wdmoe_env.interface import Decision, Observation, plain_routing
from wdmoe_env.scenario import Scenario
from wdmoe_env.system import floor, selection


class WDMoETestbed(Baseline):
    """Predict each device's time from its own history, and relieve the bottleneck of its lowest-weight tokens.

    The time of a token on a device is an exponential moving average over the layers in which the device had tokens.
    The device with the longest predicted time under top-K drops tokens, lowest weight first, while that time exceeds
    the next slowest device's; a token never drops its last expert. Only gate weights and the measured device times
    are used; the band is split evenly.

    Args:
        smoothing: weight of the newest measurement in the average, above 0 and at most 1.
        fraction: instead, the share of the bottleneck's tokens that is dropped, 0 to 1.
        keep_floor: give tokens back to top-K until the scenario's mass floor holds, those of most weight first; this is
            ours, so that policies compare at the same floor.
    """

    name = "wdmoe-testbed"

    def __init__(self, smoothing: float = 0.3, fraction: float | None = None, keep_floor: bool = True) -> None:
        super().__init__()
        self.smoothing = check_range("smoothing", smoothing, 0.0, 1.0, above=True)
        self.fraction = None if fraction is None else check_range("fraction", fraction, 0.0, 1.0)
        self.keep_floor = check_flag("keep_floor", keep_floor)
        self._token_time = self._tokens = np.zeros((0, 0))

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        super().reset(scenario, num_envs)
        self._token_time = np.zeros((num_envs, scenario.num_devices))
        self._tokens = np.zeros_like(self._token_time)

    def decide(self, observation: Observation) -> Decision:
        compute = self.scenario.compute_model
        self._learn(observation.last_device_time)
        plain = plain_routing(observation, self.scenario.model.top_k)
        chosen = plain.copy(order="K")
        tokens = compute.per_device(selection.tokens_per_expert(chosen))
        bottleneck, surplus = self._surplus(tokens)
        chosen &= ~relief(observation.gate_weights, chosen, compute.hosting[:, bottleneck].T > 0, surplus)
        if self.keep_floor:
            # What is dropped is dropped on one device: each use costs the same.
            price = np.ones((len(chosen), chosen.shape[2]))
            chosen = floor.keep_floor(observation.gate_weights, chosen, plain, price, self.scenario.reward.mass_floor)
        self._tokens = compute.per_device(selection.tokens_per_expert(chosen))
        return Decision(chosen, allocation.uniform(self.scenario, len(chosen)))

    def _learn(self, last_device_time: FloatArray) -> None:
        """Take what was measured in the step before into the average."""
        # At the start of an episode nothing was measured: who was slow in the last one no longer matters.
        self._token_time[~last_device_time.any(axis=-1)] = 0.0
        measured = (self._tokens > 0) & (last_device_time > 0)
        newest = last_device_time / np.maximum(self._tokens, 1.0)
        weight = np.where(self._token_time > 0, self.smoothing, 1.0)
        self._token_time = np.where(measured, self._token_time + weight * (newest - self._token_time), self._token_time)

    def _surplus(self, tokens: FloatArray) -> tuple[IntArray, FloatArray]:
        """Device of longest predicted time (N,), and how many of its (N, U) tokens are too many (N,)."""
        predicted = tokens * self._token_time
        rows, bottleneck = np.arange(len(tokens)), predicted.argmax(axis=-1)
        load = tokens[rows, bottleneck]
        if self.fraction is not None:
            surplus = np.floor(self.fraction * load)
        else:
            others = np.where(np.arange(tokens.shape[1]) == bottleneck[:, None], 0.0, predicted)
            excess = predicted[rows, bottleneck] - others.max(axis=-1)
            surplus = np.ceil(excess / np.maximum(self._token_time[rows, bottleneck], 1e-12) - 1e-9)
        known = (self._token_time > 0).sum(axis=-1) > 1
        return bottleneck, np.where(known, surplus, 0.0)


def relief(gate_weights: GateArray, chosen: BoolArray, slow: BoolArray, surplus: FloatArray) -> BoolArray:
    """Mark what a device drops: its (N,) `surplus` uses of lowest weight, none of them a token's last.

    Args:
        gate_weights, chosen: (N, J, E).
        slow: (N, E) the experts of the device.
        surplus: (N,) how many to drop; fewer where no more can be.

    Returns:
        (N, J, E) bool.
    """
    weights, mine = selection.by_expert(gate_weights), selection.by_expert(chosen)
    here = mine & slow[:, :, None]
    elsewhere = (mine & ~slow[:, :, None]).any(axis=1, keepdims=True)
    best = np.where(here, weights, -1.0).argmax(axis=1)[:, None, :]
    spare = here & (elsewhere | (np.arange(weights.shape[1])[:, None] != best))
    flat = np.where(spare, weights, np.inf).reshape(len(weights), -1)
    rank = np.empty(flat.shape, dtype=np.int64)
    np.put_along_axis(rank, np.argsort(flat, axis=1, kind="stable"), np.arange(flat.shape[1])[None, :], axis=1)
    return (spare & (rank < surplus[:, None]).reshape(spare.shape)).swapaxes(1, 2)
