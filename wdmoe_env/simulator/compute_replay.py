"""How long experts really take: by the device's formula, or as measured; for N environments at once."""

from __future__ import annotations

import numpy as np

from wdmoe_env.arrays import FloatArray, IntArray
from wdmoe_env.hardware.latency.replay import LatencyDistribution, LatencySequence
from wdmoe_env.scenario import Scenario
from wdmoe_env.simulator.state import ComputeState
from wdmoe_env.system.compute import ComputeModel, affine_minorant, compute_time


class ComputeReplay:
    """Seconds of the experts in a layer, which a `ComputeState` fixes before it is decided; nothing in here changes.

    `distribution` devices: one uniform number for each environment and expert, drawn for every layer whatever is
    decided. `sequence` devices: each has a place in its recording, drawn at a reset, and goes on by one row a layer;
    after the last row comes the first. All others take what `Scenario.compute_model` says.

    Attributes:
        measured: whether any device replays measurements.
    """

    def __init__(self, scenario: Scenario, num_envs: int) -> None:
        self._model, self._tokens = scenario.compute_model, scenario.traffic.tokens
        self._share = self._tokens * scenario.model.top_k / scenario.model.experts
        host, kept = self._model.host, scenario.recordings
        group = np.repeat(np.arange(len(kept)), [group.count for group in scenario.devices])
        self._shape = (num_envs, len(host))
        parts = [part for part in kept if isinstance(part, LatencyDistribution)]
        index = np.cumsum([isinstance(part, LatencyDistribution) for part in kept]) - 1
        self._distribution = LatencyDistribution.stack(parts) if parts else None
        self._drawn = _where(group[host], kept, LatencyDistribution)
        self._part = index[group[host][self._drawn]]
        self._sequences: list[tuple[LatencySequence, IntArray]] = [
            (part, np.flatnonzero(group[host] == g)) for g, part in enumerate(kept) if isinstance(part, LatencySequence)
        ]
        self._rows = np.array([len(p.latency_s) if isinstance(p, LatencySequence) else 1 for p in kept])[group]
        self._recorded = np.array([part is not None for part in kept])[group]
        self.measured = bool(self._recorded.any())

    def draw(self, rng: np.random.Generator) -> FloatArray | None:
        """Draw the (N, E) uniform numbers of a layer, where devices need them."""
        return rng.random(self._shape) if self._distribution is not None else None

    def start(self, rng: np.random.Generator) -> ComputeState:
        """Draw where recordings begin, and the first layer's uniform numbers."""
        place = None
        if self._sequences:
            place = (rng.random((self._shape[0], len(self._rows))) * self._rows).astype(np.int64)
        return ComputeState(self.draw(rng), place)

    def advance(self, state: ComputeState, uniform: FloatArray | None) -> ComputeState:
        """The state in the next layer, whose numbers were drawn."""
        return ComputeState(uniform, None if state.place is None else (state.place + 1) % self._rows)

    def compute_time(self, state: ComputeState, tokens_per_expert: FloatArray, load: FloatArray) -> FloatArray:
        """Seconds each device computes in this layer: (N, U), from (N, E) token counts and (N, U) load."""
        if not self.measured:
            return compute_time(tokens_per_expert, load, self._model)
        return self._model.per_device(self.expert_seconds(state, tokens_per_expert)) / (1.0 - load)

    def expert_seconds(self, state: ComputeState, tokens: FloatArray) -> FloatArray:
        """Seconds of each expert on an idle device, in the shape of tokens: (..., N, E), whole numbers up to J."""
        drawn, uniform, place = self._distribution, state.uniform, state.place
        if drawn is not None and uniform is not None and len(self._drawn) == tokens.shape[-1]:
            return drawn.sample(tokens, uniform, self._part)
        fixed, per_token = self._model.fixed_s[self._model.host], self._model.token_s[self._model.host]
        seconds = tokens * per_token + (tokens > 0) * fixed
        if drawn is not None and uniform is not None:
            asked, quantile = tokens[..., self._drawn], uniform[:, self._drawn]
            seconds[..., self._drawn] = drawn.sample(asked, quantile, self._part)
        if place is not None:
            for sequence, experts in self._sequences:
                rows = place[:, self._model.host[experts]]
                seconds[..., experts] = sequence.seconds(tokens[..., experts], 0, rows)
        return seconds

    def expert_table(self, state: ComputeState) -> FloatArray:
        """Seconds of each expert on an idle device for 0 to J tokens: (J + 1, N, E)."""
        counts = np.arange(self._tokens + 1, dtype=np.float64)[:, None, None]
        return self.expert_seconds(state, np.broadcast_to(counts, (len(counts), *self._shape)))

    def lower_model(self, state: ComputeState) -> ComputeModel:
        """Affine compute of each device, (N, U), never above what any of its experts takes for 1 to J tokens.

        As high as that can be at an expert's even share of the tokens; exact where the time is affine.
        """
        model, table = self._model, self.expert_table(state)[1:]
        order = np.argsort(model.host, kind="stable")
        first = np.searchsorted(model.host[order], np.arange(len(model.fixed_s)))
        fixed, per_token = affine_minorant(np.minimum.reduceat(table[..., order], first, axis=-1), self._share)
        return ComputeModel(
            np.where(self._recorded, fixed, model.fixed_s),
            np.where(self._recorded, per_token, model.token_s),
            model.host,
        )


def _where(group: IntArray, kept: tuple[object, ...], kind: type) -> IntArray:
    """Experts whose group replays a recording of that kind, from the group of each expert."""
    return np.flatnonzero([isinstance(kept[index], kind) for index in group])
