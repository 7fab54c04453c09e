"""Episodes, one layer after the other, as far as somebody looked: of a policy, and of whoever takes over from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import numpy as np

from explorer.cells.changes import SPLIT
from explorer.view import Piece
from wdmoe_env import Decision, Observation, Policy, Scenario, Simulator, allocation
from wdmoe_env.arrays import BoolArray, FloatArray
from wdmoe_env.envs.actions import PriceAction
from wdmoe_env.envs.encoding import encode
from wdmoe_env.render import Scene
from wdmoe_env.simulator.state import SimulatorState
from wdmoe_env.system import selection

EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Moment:
    """One layer: how the cell stood, what was decided, what came of it.

    Attributes:
        scene: with the step that was taken.
        decision: of one cell.
        known: what the policy knew.
        cell: the same as it truly was.
        reference: 1/s, WLR of plain top-K with equal shares.
        state: the simulator's, before the step.
    """

    scene: Scene
    decision: Decision
    known: Observation
    cell: Observation
    reference: float
    state: SimulatorState

    @property
    def reward(self) -> float:
        """What the step brought."""
        assert self.scene.step is not None  # a moment is made after the step
        return float(self.scene.step.metrics["reward"])


class Episode(Protocol):
    """Moments of an episode by their step."""

    scenario: Scenario

    def at(self, step: int) -> Moment:
        """The moment of a step; what comes before it is run if it was not yet."""
        ...


def run(simulator: Simulator, decide: Policy) -> Moment:
    """Run the next layer as a policy decides."""
    before, known = Scene.now(simulator), simulator.observation
    cell, reference, state = simulator.true_observation(), simulator.reference(), simulator.state()
    decision = decide.decide(known)
    return Moment(before.after(decision, simulator.step(decision)), decision, known, cell, float(reference[0]), state)


class PolicyEpisode:
    """The episode of a policy in a cell.

    Args:
        simulator: of one cell, at the start.
        policy: who decides.
    """

    def __init__(self, simulator: Simulator, policy: Policy) -> None:
        self.scenario = simulator.scenario
        self._simulator, self._policy = simulator, policy
        self._moments: list[Moment] = []
        self._lock = Lock()
        policy.reset(self.scenario, 1)

    def at(self, step: int) -> Moment:
        """The moment of a step.

        Raises:
            IndexError: the episode has no such step.
        """
        check_step(step, self.scenario)
        with self._lock:
            while len(self._moments) <= step:
                self._moments.append(run(self._simulator, self._policy))
            return self._moments[step]


class TakenOver:
    """The episode of a policy that somebody takes over, with prices and shares that hold from a step on.

    Args:
        base: the policy's own.
        pieces: what was set, in the order of the steps.
        before: what was taken over until now; what is the same in it is not run again.
    """

    def __init__(self, base: Episode, pieces: Sequence[Piece], before: TakenOver | None = None) -> None:
        self.scenario, self.base, self.pieces = base.scenario, base, tuple(pieces)
        self._first, self._lock = self.pieces[0].step, Lock()
        for piece in self.pieces:
            _check_piece(piece, self.scenario)
        self._moments: list[Moment] = []
        if before is not None and before.base is base and before._first == self._first:
            self._moments = before._moments[: _same_until(before.pieces, self.pieces) - self._first]
        self._simulator = Simulator(self.scenario, 1, SPLIT)
        self._simulator.reset(0)

    def at(self, step: int) -> Moment:
        """The moment of a step.

        Raises:
            IndexError: the episode has no such step.
        """
        check_step(step, self.scenario)
        if step < self._first:
            return self.base.at(step)
        with self._lock:
            while self._first + len(self._moments) <= step:
                self._advance()
            return self._moments[step - self._first]

    def _advance(self) -> None:
        now = self._first + len(self._moments)
        simulator = self._simulator
        if not self._moments:
            simulator.restore(self.base.at(now).state)
        elif simulator.steps != now:
            simulator.restore(self._moments[-1].state)
            simulator.step(self._moments[-1].decision)
        self._moments.append(run(simulator, Hand(self.scenario, self.piece(now))))

    def piece(self, step: int) -> Piece:
        """What holds in a step that was taken over."""
        return [piece for piece in self.pieces if piece.step <= step][-1]


class Hand:
    """A policy by hand: prices of the devices, and the exact split of the band or one by hand.

    Shares are those of devices with tokens alone: what others were given goes to them in proportion.
    """

    name = "hand"

    def __init__(self, scenario: Scenario, piece: Piece) -> None:
        self._scenario, self._piece, self._codec = scenario, piece, PriceAction(scenario)

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        """Nothing is remembered."""

    def decide(self, observation: Observation) -> Decision:
        """The selection that the prices bring, and the split."""
        price = self._codec.price_max * np.square(np.array(self._piece.price))[None]
        chosen = self._codec.select(price, observation)
        return Decision(chosen, self._split(chosen, observation))

    def _split(self, chosen: BoolArray, observation: Observation) -> FloatArray:
        if self._piece.share is None:
            return allocation.allocate_for(chosen, observation, self._scenario)
        tokens = self._scenario.compute_model.per_device(selection.tokens_per_expert(chosen))
        share = np.array(self._piece.share)[None] * (tokens > 0)
        return share * (self._scenario.radio.bandwidth_hz / max(float(share.sum()), EQUAL))


def piece_of(moment: Moment, step: int, scenario: Scenario) -> Piece:
    """What comes nearest to a decision: where a take-over begins. Shares are left to the exact split."""
    action = encode("price", moment.decision, moment.known, scenario)
    price = 0.5 * (action[0, : scenario.num_devices].astype(float) + 1.0)
    return Piece(step, tuple(round(float(value), 4) for value in price))


def check_step(step: int, scenario: Scenario) -> None:
    """Raise an IndexError where an episode has no such step."""
    if not 0 <= step < scenario.steps_per_episode:
        raise IndexError(f"step is {step}, expected 0 to {scenario.steps_per_episode - 1}")


def _check_piece(piece: Piece, scenario: Scenario) -> None:
    check_step(piece.step, scenario)
    if len(piece.price) != scenario.num_devices:
        raise ValueError(f"pieces: {len(piece.price)} prices, expected {scenario.num_devices}, one a device")


def _same_until(one: tuple[Piece, ...], other: tuple[Piece, ...]) -> int:
    """The first step in which two take-overs may differ."""
    differing = [piece.step for piece in set(one) ^ set(other)]
    return min(differing, default=1 << 30)
