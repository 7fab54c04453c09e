"""The K largest of each token's values, for all tokens at once."""

from __future__ import annotations

from typing import Final

import numpy as np

from wdmoe_env.arrays import BoolArray, GateArray

FEW: Final = 64
"""K times E up to which passes over the experts of all tokens at once find the K largest faster than `partition`."""


def largest(values: GateArray, k: int, above: float = -np.inf) -> BoolArray:
    """Mark the k largest of each token's (N, E, J) values, the first of equal ones.

    Those that are not `above` this are left out, but for a token's largest.
    """
    best, least, top = _ranked(values, min(k, values.shape[1]))
    kind = values.dtype.type
    mark = values >= np.minimum(np.maximum(least, np.nextafter(kind(above), kind(np.inf))), best)[:, None]
    taken = [place > above for place in top]
    if np.count_nonzero(mark) > sum(map(np.count_nonzero, taken)) + np.count_nonzero(best <= above):
        # Equal values: rank these tokens' alone.
        room = np.maximum(sum(taken), 1)
        cell, token = np.nonzero(np.add.reduce(mark, axis=1, dtype=np.int64) > room)
        order = np.argsort(-values[cell, :, token], axis=1, kind="stable")
        mark[cell, :, token] = order.argsort(axis=1) < room[cell, token][:, None]
    return mark


def _ranked(values: GateArray, k: int) -> tuple[GateArray, GateArray, list[GateArray]]:
    """The largest, the k-th largest, and all of the k largest of each token's (N, E, J) values: (N, J) each."""
    experts = values.shape[1]
    if k * experts > FEW:
        part = np.partition(values, experts - k, axis=1)[:, experts - k :]
        return np.maximum.reduce(part, axis=1), part[:, 0], list(part.swapaxes(0, 1))
    top: list[GateArray] = []
    for row in values.swapaxes(0, 1):
        if len(top) < k:
            top.append(row)
        else:
            top[-1] = np.maximum(top[-1], row)
        for place in range(len(top) - 1, 0, -1):
            high, low = top[place - 1 : place + 1]
            top[place - 1], top[place] = np.maximum(high, low), np.minimum(high, low)
    return top[0], top[-1], top
