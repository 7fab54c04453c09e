"""Shown: a policy, or whoever takes over, in the layer that is looked at."""

from __future__ import annotations

from dataclasses import dataclass

from explorer.cells.episodes import Moment
from explorer.cells.proofs import Proved
from wdmoe_env.arrays import FloatArray, IntArray
from wdmoe_env.render import Step


@dataclass(frozen=True, slots=True)
class Shown:
    """One of those that are compared.

    Attributes:
        label: what the page calls it.
        place: 0, 1 or 2: its colour.
        moment: the layer.
        proved: what no decision can beat in this cell; None where it is not known yet, or never.
        price: (U,) prices in units of gate weight, where somebody set them.
    """

    label: str
    place: int
    moment: Moment
    proved: Proved | None = None
    price: FloatArray | None = None

    @property
    def step(self) -> Step:
        """What was decided, and what came of it."""
        assert self.moment.scene.step is not None  # a moment is made after the step
        return self.moment.scene.step

    @property
    def times(self) -> FloatArray:
        """(U,) seconds that each device takes."""
        return self.step.communication + self.step.computation

    @property
    def waiting(self) -> int:
        """The device that the layer waits for."""
        return int(self.step.metrics["bottleneck"])

    @property
    def tokens(self) -> IntArray:
        """(U,) experts of tokens that each device serves."""
        compute = self.moment.scene.scenario.compute_model
        return compute.per_device(self.step.selection.sum(axis=0)[None])[0].astype(int)
