"""Replay measured latencies of experts: drawn from their distribution, or in the order they were recorded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdmoe_env.hardware.boards.catalogue import board_names, load_board, roofline
from wdmoe_env.hardware.boards.expert import Figures, expert_seconds
from wdmoe_env.hardware.latency.measurement import BYTES, EXPERT, Measurement
from wdmoe_env.hardware.latency.order import in_order
from wdmoe_env.hardware.latency.spread import points, quantiles, relative_spread

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

QUANTILES = 512


@dataclass(frozen=True, eq=False)
class LatencyDistribution:
    """Latency of one expert by tokens, for one device or several: a table that draws are looked up in.

    Attributes:
        table: (D, max_tokens + 1, Q) s; quantile (q + 0.5) / Q of each token count. Row 0 is 0 s.
    """

    table: Floats

    @property
    def max_tokens(self) -> int:
        """Largest count of tokens that can be looked up."""
        return self.table.shape[1] - 1

    def sample(self, tokens: ArrayLike, uniform: ArrayLike, device: ArrayLike = 0) -> Floats:
        """Draw latencies, s, one for each count of tokens; the same uniform gives the same quantile.

        Args:
            tokens: (N, ...) whole numbers from 0 to max_tokens.
            uniform: same shape, in [0, 1).
            device: index into the table, broadcast against tokens: 0, or (D,) for tokens of (N, D).

        Raises:
            ValueError: a count of tokens is beyond max_tokens.
        """
        n = np.asarray(tokens)
        if n.max(initial=0) > self.max_tokens or n.min(initial=0) < 0:
            raise ValueError(f"tokens from {n.min()} to {n.max()}, expected 0 to {self.max_tokens}")
        devices, rows, count = self.table.shape
        index = (n + rows * np.asarray(device) if devices > 1 else n).astype(np.int64)
        index *= count
        index += (np.asarray(uniform) * count).astype(np.int64)
        return np.asarray(self.table.ravel().take(index))

    @staticmethod
    def stack(parts: Sequence["LatencyDistribution"]) -> "LatencyDistribution":
        """Distributions of several devices as one, in order; all must have the same max_tokens."""
        return LatencyDistribution(np.concatenate([part.table for part in parts]))


@dataclass(frozen=True, eq=False)
class LatencySequence:
    """A recording played back in order, one row a step, so that drift and throttling come as they were.

    Attributes:
        latency_s: (T,) recorded latencies, s, in the order of `order.in_order`.
        tokens: (T,) tokens of each.
        median_s: (max_tokens + 1,) median latency by tokens, s; between and beyond as in `latency_distribution`.
    """

    latency_s: Floats
    tokens: Ints
    median_s: Floats

    def seconds(self, tokens: ArrayLike, step: ArrayLike, offset: ArrayLike) -> Floats:
        """Latency, s, of tokens (N, ...) at a step, having begun at an offset; both broadcast against tokens.

        Equal to the recorded latency where tokens is the recorded count, else the median of that count times `scale`.
        """
        n = np.asarray(tokens).astype(np.int64)
        place = self._place(step, offset)
        scaled = self.median_s[n] * self.scale(step, offset)
        return np.asarray(np.where(n == self.tokens[place], self.latency_s[place], scaled))

    def scale(self, step: ArrayLike, offset: ArrayLike) -> Floats:
        """Recorded latency over the median at its tokens. After the last row it goes on with the first."""
        place = self._place(step, offset)
        return np.asarray(self.latency_s[place] / self.median_s[self.tokens[place]])

    def _place(self, step: ArrayLike, offset: ArrayLike) -> Ints:
        return np.asarray((np.asarray(step, dtype=np.int64) + np.asarray(offset, dtype=np.int64)) % len(self.latency_s))


def latency_distribution(
    rows: Sequence[Measurement], hidden: int, intermediate: int, max_tokens: int, weight_bits: float = 16.0
) -> LatencyDistribution:
    """Distribution of the latency of an expert from the measurements of one board and power mode.

    Where experts of these dimensions and weight bits were measured, it is theirs: exact at the measured counts,
    quantile by quantile linear between them, constant below the smallest, and beyond the largest every quantile grows
    as the line through the medians of the two largest counts (never falling; in proportion to tokens if there is one).
    Otherwise it is the roofline's time (of the catalogue, or fitted to the rows) times the measured relative spread.

    Raises:
        ValueError: rows are of no or several boards or modes, or do not determine a roofline.
    """
    key = _board_and_mode(rows)
    if exact := experts_of(rows, hidden, intermediate, weight_bits):
        by_count: dict[int, list[tuple[Floats, float]]] = {}
        for row in exact:
            by_count.setdefault(row.tokens, []).append((points(row), float(row.trials)))
        counts = sorted(by_count)
        table = _over_tokens(counts, np.array([quantiles(by_count[n], QUANTILES) for n in counts]), max_tokens)
    else:
        figures = _figures(key, rows)
        usable = [row for row in rows if row.operation != "gemm_burst"]
        mean = expert_seconds(figures, np.arange(max_tokens + 1), hidden, intermediate, weight_bits)
        table = mean[:, None] * relative_spread(usable, QUANTILES)
    return LatencyDistribution(table[None])


def latency_sequence(
    rows: Sequence[Measurement], hidden: int, intermediate: int, max_tokens: int, weight_bits: float = 16.0
) -> LatencySequence:
    """Sequence of the single runs of experts of these dimensions, of one board and power mode.

    Raises:
        ValueError: no single runs (with `trial` or `time_s`) of such experts are among the rows.
    """
    _board_and_mode(rows)
    runs = [r for r in experts_of(rows, hidden, intermediate, weight_bits) if r.trials == 1]
    if not any(row.trial is not None or row.time_s is not None for row in runs):
        raise ValueError(
            f"a sequence needs single runs (trial or time_s) of {EXPERT} {hidden}x{intermediate} at {weight_bits:g} "
            f"bits, found {len(runs)} runs without an order; `record` writes such rows"
        )
    runs = [runs[i] for i in in_order(runs)]
    latency, tokens = np.array([row.latency_s for row in runs]), np.array([row.tokens for row in runs], dtype=np.int64)
    counts = sorted(set(tokens.tolist()))
    medians = np.array([[np.median(latency[tokens == n])] for n in counts])
    # A recorded count beyond max_tokens still sets the scale of its step.
    return LatencySequence(latency, tokens, _over_tokens(counts, medians, max(max_tokens, counts[-1]))[:, 0])


def experts_of(rows: Sequence[Measurement], hidden: int, intermediate: int, weight_bits: float) -> list[Measurement]:
    """Rows of experts of these dimensions and bits per weight."""
    return [
        row
        for row in rows
        if (row.operation, row.hidden, row.intermediate) == (EXPERT, hidden, intermediate)
        and (row.weight_bits or 8.0 * BYTES[row.precision]) == weight_bits
    ]


def _board_and_mode(rows: Sequence[Measurement]) -> tuple[str, str]:
    keys = sorted({(row.board, row.power_mode) for row in rows})
    if len(keys) != 1:
        raise ValueError(f"rows are of {len(keys)} boards and power modes {keys!r:.300}, expected exactly one")
    return keys[0]


def _figures(key: tuple[str, str], rows: Sequence[Measurement]) -> Figures:
    if key[0] in board_names() and key[1] in load_board(key[0]).power_modes and roofline(*key).measured:
        return roofline(*key)
    # Only boards that are not in the catalogue need scipy.
    from wdmoe_env.hardware.latency.fit import fit_boards

    return fit_boards(rows)[key]


def _over_tokens(counts: Sequence[int], values: Floats, max_tokens: int) -> Floats:
    """(max_tokens + 1, Q) values at every count of tokens, from (C, Q) values at increasing counts."""
    n = np.arange(max_tokens + 1)
    table = np.stack([np.interp(n, counts, column) for column in values.T], axis=1)
    median = np.median(values, axis=1)
    if len(counts) == 1:
        slope = median[-1] / counts[-1]
    else:
        slope = max(0.0, (median[-1] - median[-2]) / (counts[-1] - counts[-2]))
    beyond = np.maximum(n - counts[-1], 0)
    table *= (1 + slope * beyond / median[-1])[:, None]
    table[0] = 0.0
    return np.asarray(table)
