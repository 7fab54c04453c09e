"""Where tokens go whose device is gone: to their next-best living expert, or nowhere."""

from __future__ import annotations

from typing import Literal

import numpy as np

from wdmoe_env.arrays import BoolArray, FloatArray

OnFailure = Literal["next-best", "renormalise"]
"""`next-best`: a lost expert is replaced by the token's best living one that it does not use yet. `renormalise`: its
weights are renormalised without it, and only a token that lost all of its experts gets another."""


class NoDeviceLeftError(RuntimeError):
    """No device is left that a token could go to."""


def reassign(
    gate_weights: FloatArray, selection: BoolArray, living: BoolArray, answered: BoolArray, how: OnFailure
) -> BoolArray:
    """The (T, E) selection that is carried on with, after experts were lost.

    A token keeps what has answered, also of a device that is gone since, and its choices that live; it never uses more
    experts than it did.

    Args:
        gate_weights: (T, E) router softmax.
        selection: (T, E) bool, what was decided.
        living: (E,) bool, experts whose device is there.
        answered: (T, E) bool, what has been computed already.
        how: what becomes of a lost choice.

    Raises:
        NoDeviceLeftError: a token has no expert that answered or lives.

    >>> weights = np.array([[0.5, 0.3, 0.2]])
    >>> decided = np.array([[True, False, False]])
    >>> reassign(weights, decided, np.array([False, True, True]), np.zeros((1, 3), bool), "next-best").astype(int)
    array([[0, 1, 0]])
    """
    if living.all():
        return selection
    kept = selection & (answered | living)
    lost = selection.sum(axis=1) - kept.sum(axis=1)
    # None of its own is left: it needs one all the same.
    wanted = lost if how == "next-best" else np.where(kept.any(axis=1), 0, np.minimum(lost, 1))
    free = living & ~kept
    rank = np.argsort(np.argsort(np.where(free, -gate_weights, np.inf), axis=1, kind="stable"), axis=1, kind="stable")
    chosen = kept | (free & (rank < wanted[:, None]))
    if not chosen.any(axis=1).all():
        raise NoDeviceLeftError("no device is left: every expert that a token could go to is on one that is gone")
    return chosen
