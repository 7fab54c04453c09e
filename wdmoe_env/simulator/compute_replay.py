"""How long experts really take: by the device's formula, or as measured; for N environments at once."""

from __future__ import annotations

import numpy as np

from wdmoe_env.arrays import FloatArray, IntArray
from wdmoe_env.hardware.latency.replay import LatencyDistribution, LatencySequence
from wdmoe_env.scenario import Scenario
from wdmoe_env.system.compute import ComputeModel, affine_minorant, compute_time


class ComputeReplay:
    """Seconds of the experts in the current layer, fixed before it is decided.

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
        self._uniform, self._place = np.zeros(self._shape), np.zeros((num_envs, len(group)), dtype=np.int64)

    def reset(self, rng: np.random.Generator) -> None:
        """Begin episodes: draw where recordings begin, and what the first layer's uniform numbers are."""
        if self._sequences:
            self._place = (rng.random(self._place.shape) * self._rows).astype(np.int64)
        self._draw(rng)

    def advance(self, rng: np.random.Generator) -> None:
        """Go on to the next layer."""
        if self._sequences:
            self._place = (self._place + 1) % self._rows
        self._draw(rng)

    def _draw(self, rng: np.random.Generator) -> None:
        if self._distribution is not None:
            self._uniform = rng.random(self._shape)

    def compute_time(self, tokens_per_expert: FloatArray, load: FloatArray) -> FloatArray:
        """Seconds each device computes in this layer: (N, U), from (N, E) token counts and (N, U) load."""
        if not self.measured:
            return compute_time(tokens_per_expert, load, self._model)
        return self._model.per_device(self.expert_seconds(tokens_per_expert)) / (1.0 - load)

    def expert_seconds(self, tokens: FloatArray) -> FloatArray:
        """Seconds of each expert on an idle device, in the shape of tokens: (..., N, E), whole numbers up to J."""
        if self._distribution is not None and len(self._drawn) == tokens.shape[-1]:
            return self._distribution.sample(tokens, self._uniform, self._part)
        fixed, per_token = self._model.fixed_s[self._model.host], self._model.token_s[self._model.host]
        seconds = tokens * per_token + (tokens > 0) * fixed
        if self._distribution is not None:
            asked, uniform = tokens[..., self._drawn], self._uniform[:, self._drawn]
            seconds[..., self._drawn] = self._distribution.sample(asked, uniform, self._part)
        for sequence, experts in self._sequences:
            place = self._place[:, self._model.host[experts]]
            seconds[..., experts] = sequence.seconds(tokens[..., experts], 0, place)
        return seconds

    def expert_table(self) -> FloatArray:
        """Seconds of each expert on an idle device for 0 to J tokens: (J + 1, N, E)."""
        counts = np.arange(self._tokens + 1, dtype=np.float64)[:, None, None]
        return self.expert_seconds(np.broadcast_to(counts, (len(counts), *self._shape)))

    def lower_model(self) -> ComputeModel:
        """Affine compute of each device, (N, U), never above what any of its experts takes for 1 to J tokens.

        As high as that can be at an expert's even share of the tokens; exact where the time is affine.
        """
        model, table = self._model, self.expert_table()[1:]
        order = np.argsort(model.host, kind="stable")
        first = np.searchsorted(model.host[order], np.arange(len(model.fixed_s)))
        fixed, per_token = affine_minorant(np.minimum.reduceat(table[..., order], first, axis=-1), self._share)
        return ComputeModel(
            np.where(self._recorded, fixed, model.fixed_s),
            np.where(self._recorded, per_token, model.token_s),
            model.host,
        )

    def state(self) -> dict[str, FloatArray | IntArray]:
        """Everything that the future depends on, by name; empty without measured devices."""
        state: dict[str, FloatArray | IntArray] = {}
        if self._distribution is not None:
            state["uniform"] = self._uniform.copy()
        if self._sequences:
            state["place"] = self._place.copy()
        return state

    def restore(self, state: dict[str, FloatArray | IntArray]) -> None:
        """Put back what `state` returned."""
        for name in self.state():
            setattr(self, f"_{name}", np.array(state[name]))


def _where(group: IntArray, kept: tuple[object, ...], kind: type) -> IntArray:
    """Experts whose group replays a recording of that kind, from the group of each expert."""
    return np.flatnonzero([isinstance(kept[index], kind) for index in group])
