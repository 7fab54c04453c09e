"""Small changes of a selection: what they win, and what they cost at given prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.joint.problem import BANNED, JointProblem, net_weights
from wdmoe_env.arrays import BoolArray, FloatArray, IntArray
from wdmoe_env.system import selection

NOBODY = -1
"""Stands for no expert, and for no token."""


@dataclass(frozen=True, slots=True)
class Moves:
    """Ways to change the selection of one token each: arrays (N, P).

    Attributes:
        token: which token.
        enters, leaves: expert that it takes on, and that it gives up, or `NOBODY`.
        mass: gate mass that is won.
        loss: what the token loses by it at the prices; infinite if it is not allowed.
    """

    token: IntArray
    enters: IntArray
    leaves: IntArray
    mass: FloatArray
    loss: FloatArray

    def take(self, index: NDArray[np.int64]) -> Moves:
        """Those at a (N, R) index of each cell."""
        return self.mapped(lambda values: np.take_along_axis(values, index, axis=1))

    def joined(self, other: Moves) -> Moves:
        """These, and then others."""
        return Moves(
            token=np.concatenate([self.token, other.token], axis=1),
            enters=np.concatenate([self.enters, other.enters], axis=1),
            leaves=np.concatenate([self.leaves, other.leaves], axis=1),
            mass=np.concatenate([self.mass, other.mass], axis=1),
            loss=np.concatenate([self.loss, other.loss], axis=1),
        )

    def change(self, experts: int) -> FloatArray:
        """Tokens that each expert wins: (N, P, E)."""
        index = np.arange(experts)
        entering, leaving = self.enters[:, :, None] == index, self.leaves[:, :, None] == index
        return entering.astype(np.float64) - leaving

    def apply(self, chosen: BoolArray, wanted: BoolArray) -> None:
        """Make those moves that are (N, P) wanted, in place; each of a cell's must be of another token."""
        for expert, value in ((self.leaves, False), (self.enters, True)):
            cell, move = np.nonzero(wanted & (expert != NOBODY))
            chosen[cell, expert[cell, move], self.token[cell, move]] = value

    def mapped(self, work: Callable[[NDArray[Any]], NDArray[Any]]) -> Moves:
        """Apply `work` to each array."""
        return Moves(work(self.token), work(self.enters), work(self.leaves), work(self.mass), work(self.loss))


def select(problem: JointProblem, price: FloatArray) -> BoolArray:
    """The best selection of each token at (N, U) prices: (N, E, J)."""
    net = net_weights(problem, price)
    return selection.by_expert(selection.by_score(net.swapaxes(1, 2), problem.top_k))


def every_move(problem: JointProblem, chosen: BoolArray, price: FloatArray) -> Moves:
    """All ways to drop an expert, to add one, or to take one in the place of a token's worst: (N, 2 E J).

    They stand expert by expert, and token by token within an expert.
    """
    net, weights = net_weights(problem, price), problem.weights.astype(np.float64)
    expert, token = (axis[None] for axis in np.mgrid[: net.shape[1], : net.shape[2]])
    used, free = chosen.sum(axis=1, keepdims=True), ~chosen & (weights > 0.5 * BANNED)
    toggled = Moves(
        token=token,
        enters=np.where(chosen, NOBODY, expert),
        leaves=np.where(chosen, expert, NOBODY),
        mass=np.where(chosen, -weights, weights),
        loss=np.where(np.where(chosen, used > 1, free & (used < problem.top_k)), np.where(chosen, net, -net), np.inf),
    )
    worst = np.where(chosen, net, np.inf).argmin(axis=1)[:, None]
    swapped = Moves(
        token=token,
        enters=expert,
        leaves=worst,
        mass=weights - np.take_along_axis(weights, worst, axis=1),
        loss=np.where(free, np.take_along_axis(net, worst, axis=1) - net, np.inf),
    )

    def flat(values: NDArray[Any]) -> NDArray[Any]:
        return np.broadcast_to(values, net.shape).reshape(len(net), -1)

    return toggled.mapped(flat).joined(swapped.mapped(flat))
