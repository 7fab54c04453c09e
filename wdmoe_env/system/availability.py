"""Devices that come and go: how long they stay, what policies see of one that is gone, and where its tokens go."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from wdmoe_env.arrays import BoolArray, FloatArray, GateArray

LEAST_MASS: Final = 1e-6
"""Gate weight of a token's living experts below which it is as good as none."""
OnFailure = Literal["next-best", "renormalise"]
"""`next-best`: a lost expert is replaced by the token's best living one that it does not use yet. `renormalise`: its
weights are renormalised without it, and only a token that lost all of its experts gets another."""


def next_presence(
    present: BoolArray, uniform: FloatArray, elapsed_s: FloatArray, up_s: FloatArray, down_s: FloatArray
) -> BoolArray:
    r"""(N, U) whether each device is there after some time: a continuous-time Markov chain of two states.

    .. math:: P(\text{there} \mid \text{was there}) = \pi + (1 - \pi) e^{-\lambda t}, \quad
        P(\text{there} \mid \text{was gone}) = \pi (1 - e^{-\lambda t}), \quad
        \pi = \frac{T_{up}}{T_{up} + T_{down}}, \; \lambda = \frac{1}{T_{up}} + \frac{1}{T_{down}}

    Where all devices of a cell would be gone, the one of smallest uniform number stays.

    Args:
        present: (N, U) bool, which are there now.
        uniform: (N, U) in [0, 1).
        elapsed_s: (N, 1) seconds that pass; infinite: what holds in the long run.
        up_s, down_s: (U,) mean seconds that a device is there and gone; down_s of 0: never gone.
    """
    share = up_s / (up_s + down_s)
    memory = np.exp(-elapsed_s * (1.0 / up_s + 1.0 / np.maximum(down_s, 1e-300)))
    after: BoolArray = uniform < share + memory * (present - share)
    none = ~after.any(axis=1)
    after[none, uniform[none].argmin(axis=1)] = True
    return after


def mask_gates(gate_weights: GateArray, living: BoolArray) -> GateArray:
    """Gate weights (N, J, E) of the experts that are there, each token's rescaled to sum to 1.

    A token none of whose weight is on living experts is shared evenly by them.

    Args:
        gate_weights: (N, J, E).
        living: (N, E) bool; at least one is.
    """
    there = living[:, None, :]
    kept = np.where(there, gate_weights, 0.0)
    total = kept.sum(axis=-1, keepdims=True)
    even = there / living.sum(axis=-1)[:, None, None]
    masked: GateArray = np.where(total > LEAST_MASS, kept / np.maximum(total, LEAST_MASS), even).astype(np.float32)
    return masked


class NoDeviceLeftError(RuntimeError):
    """No device is left that a token could go to."""


def reassign(
    gate_weights: GateArray,
    selection: BoolArray,
    living: BoolArray,
    answered: BoolArray | None = None,
    how: OnFailure = "next-best",
) -> BoolArray:
    """The (T, E) selection that is carried on with, after experts were lost.

    A token keeps what has answered, also of a device that is gone since, and its choices that live; it never uses more
    experts than it did.

    Args:
        gate_weights: (T, E) router softmax.
        selection: (T, E) bool, what was decided.
        living: (E,) or (T, E) bool, experts whose device is there.
        answered: (T, E) bool, what has been computed already; None: nothing.
        how: what becomes of a lost choice.

    Raises:
        NoDeviceLeftError: a token has no expert that answered or lives.

    >>> weights = np.array([[0.5, 0.3, 0.2]])
    >>> decided = np.array([[True, False, False]])
    >>> reassign(weights, decided, np.array([False, True, True])).astype(int)
    array([[0, 1, 0]])
    """
    if living.all():
        return selection
    kept = selection & (living if answered is None else answered | living)
    lost = selection.sum(axis=1) - kept.sum(axis=1)
    # None of its own is left: it needs one all the same.
    wanted = lost if how == "next-best" else np.where(kept.any(axis=1), 0, np.minimum(lost, 1))
    free = living & ~kept
    rank = np.argsort(np.argsort(np.where(free, -gate_weights, np.inf), axis=1, kind="stable"), axis=1, kind="stable")
    chosen = kept | (free & (rank < wanted[:, None]))
    if not chosen.any(axis=1).all():
        raise NoDeviceLeftError("no device is left: every expert that a token could go to is on one that is gone")
    return chosen
