"""Which held-out episodes are run, from which seeds, in which chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from typing import Annotated

import numpy as np
from pydantic import Field

from evaluation.episodes.errors import EvaluationError
from wdmoe_env import Scenario
from wdmoe_env.arrays import IntArray
from wdmoe_env.checks import check_fields

MAX_CHUNK = 64
WARM_UP = 20
BOUNDED_METRIC, SHARED_SCALE = "wlr", "linear"
"""The `reward.metric` for which `baselines.bound` proves how much a step can bring, and the `reward.scale` in which a
share of that says something: a logarithm has no zero of its own."""
_CHUNK_VALUES = 1 << 22
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]


class Purpose(IntEnum):
    """What a held-out seed is for."""

    EPISODES = 0
    TIMING = 1
    BOUND = 2
    TEXT = 3


def held_out_seed(seed: int, chunk: int, purpose: Purpose = Purpose.EPISODES) -> int:
    """Seed of a chunk of held-out episodes, never one that training uses.

    Held-out seeds are hashed from (seed, chunk) and are at least 2**127, while training is seeded with plain 64-bit
    integers: the two never meet. Besides, gate weights come from the bank that training does not draw from.

    >>> held_out_seed(0, 0) >= 2**127, held_out_seed(0, 0) == held_out_seed(0, 1)
    (True, False)
    """
    words = np.random.SeedSequence([purpose, seed, chunk]).generate_state(4)
    return reduce(lambda number, word: number << 32 | int(word), words, 0) | 1 << 127


@dataclass(frozen=True, slots=True)
class Plan:
    """Which held-out episodes are run; the same plan and scenario always give the same episodes.

    Attributes:
        episodes: how many.
        seed: decides their channels, gate weights and loads.
        decisions: how many single decisions are timed.
        bound_steps: how many single steps are compared with what is proved to be the most they can bring; 0 for none.
        side_by_side: how many episodes are run at once, at most; another number makes other episodes.
    """

    episodes: Positive
    seed: NonNegative = 0
    decisions: Positive = 200
    bound_steps: NonNegative = 200
    side_by_side: Positive = MAX_CHUNK

    def __post_init__(self) -> None:
        check_fields(self, error=EvaluationError)

    def chunks(self, scenario: Scenario) -> Iterator[tuple[int, int]]:
        """Yield (seed, number of environments) of each chunk; large cells get smaller chunks, to bound memory."""
        per_episode = scenario.traffic.tokens * scenario.model.experts
        size = max(1, min(self.side_by_side, _CHUNK_VALUES // per_episode))
        for index, start in enumerate(range(0, self.episodes, size)):
            yield held_out_seed(self.seed, index), min(size, self.episodes - start)

    def num_sampled(self, scenario: Scenario) -> int:
        """Steps that are compared with their bound: none where there is none to take a share of."""
        known = (scenario.reward.metric, scenario.reward.scale) == (BOUNDED_METRIC, SHARED_SCALE)
        known &= scenario.bounded
        return min(self.bound_steps, self.episodes * scenario.steps_per_episode) if known else 0

    def sample(self, scenario: Scenario) -> tuple[IntArray, IntArray]:
        """Draw step and episode, (S,) each, of the steps that are compared with their bound: the same for all policies.

        They are drawn uniformly and without replacement from all steps of all episodes.
        """
        rng = np.random.default_rng(held_out_seed(self.seed, 0, Purpose.BOUND))
        total = self.episodes * scenario.steps_per_episode
        drawn = np.sort(rng.choice(total, size=self.num_sampled(scenario), replace=False))
        step, episode = np.divmod(drawn, self.episodes)
        return step, episode

    def num_steps(self, scenario: Scenario) -> int:
        """Decisions that `run_policy` asks a policy for, those it times included."""
        return scenario.steps_per_episode * sum(1 for _ in self.chunks(scenario)) + self.decisions + WARM_UP
