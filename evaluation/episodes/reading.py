"""What a real model reads while policies decide: which streams of a text, in which episodes, and what it makes of them.

Importing this loads neither torch nor transformers: only a model that is read with does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.plan import Plan, Purpose, held_out_seed
from wdmoe_env import Observation, Scenario, Simulator
from wdmoe_env.arrays import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from evaluation.episodes.live import Live
    from wdmoe_env.moe.in_the_loop import ModelInTheLoop
    from wdmoe_env.moe.streams import Streams

READING_METRICS: Final = ("bits_per_byte", "perplexity")
"""What an episode is judged by besides, where a model reads: how well it predicts the text of the episode's stream."""
FEW_DOCUMENTS = 5
"""With fewer documents than this, a bootstrap over documents says little."""


@dataclass(frozen=True)
class Reading:
    """A stream of text for each episode of a plan, and the model that reads it.

    Attributes:
        model: what reads.
        streams: one for each episode.
        fit: streams that the text has room for; the episodes' are drawn from them.
        live: the testbed whose devices hold the experts; None: the model has them itself.
    """

    model: ModelInTheLoop
    streams: Streams
    fit: int
    live: Live | None = None

    @property
    def documents(self) -> int:
        """Documents that the streams are from."""
        return len(np.unique(self.streams.document))

    @property
    def by_document(self) -> bool:
        """Whether there are enough documents for intervals over documents; else they are over streams."""
        return self.documents >= FEW_DOCUMENTS

    @property
    def clusters(self) -> IntArray:
        """(episodes,) what episodes have in common."""
        return self.streams.document if self.by_document else np.arange(len(self.streams))

    def simulator(self, scenario: Scenario, count: int) -> Simulator:
        """Cells for so many episodes: simulated, or where there is a testbed, the one that it is."""
        return (
            Simulator(scenario, count, split="test")
            if self.live is None
            else self.live.cell(scenario, count, self.model)
        )

    def read(
        self, episodes: slice, simulator: Simulator, act: Callable[[Observation], BoolArray]
    ) -> dict[str, FloatArray]:
        """Read the streams of some episodes, one in each environment; return the `READING_METRICS` of each, (N,).

        Args:
            episodes: which.
            simulator: at their beginning.
            act: decides a layer, steps the simulator and returns the selection.

        Raises:
            EvaluationError: the model gives a number that is not finite.
        """
        streams, name = self.streams.take(episodes), simulator.scenario.name
        try:
            with nullcontext() if self.live is None else self.live.attached(self.model, simulator):
                nats = self.model.read(streams.tokens, simulator, act)
        except (ValueError, RuntimeError) as error:
            if self.live is None and isinstance(error, RuntimeError):
                raise
            raise EvaluationError(f"--model in scenario {name!r}: {error}") from error
        if not np.isfinite(nats).all():
            raise EvaluationError(f"--model in scenario {name!r}: the loss of a token is not finite")
        bits = nats.sum(axis=1) / np.log(2.0)
        return {"bits_per_byte": bits / streams.bytes, "perplexity": np.exp(nats.mean(axis=1))}

    def facts(self) -> dict[str, Any]:
        """What was read, for the summary."""
        return {
            "streams": len(self.streams),
            "fit": self.fit,
            "tokens_per_stream": self.streams.tokens.shape[1],
            "documents": self.documents,
            "bytes": int(self.streams.bytes.sum()),
            "intervals_over": "documents" if self.by_document else "streams",
        }


@dataclass(frozen=True)
class Reader:
    """A model, and the text that it can read.

    Attributes:
        model: what reads.
        tokenizer: its transformers tokenizer.
        documents: names and texts.
        facts: which model and which text these are, for the summary.
        live: the testbed whose devices hold the experts; None: the model has them itself.
    """

    model: ModelInTheLoop
    tokenizer: Any
    documents: tuple[tuple[str, str], ...]
    facts: dict[str, Any]
    live: Live | None = None

    def reading(self, scenario: Scenario, plan: Plan) -> Reading:
        """Draw a stream for each of the plan's episodes, without replacement, from all that the documents have.

        More episodes of the same seed read the same streams and others.

        Raises:
            EvaluationError: the scenario is not of the model's shape, or the text is too short.
        """
        from wdmoe_env.moe.in_the_loop import stream_length
        from wdmoe_env.moe.streams import cut

        length = stream_length(scenario)
        try:
            self.model.check_fits(scenario)
            streams = cut(self.documents, self.tokenizer, length)
        except ValueError as error:
            raise EvaluationError(f"--model in scenario {scenario.name!r}: {error}") from error
        if plan.episodes > len(streams):
            raise EvaluationError(
                f"--text holds {len(streams)} streams of {length} tokens (an episode of scenario {scenario.name!r}), "
                f"so at most --episodes {len(streams)} fit, not {plan.episodes}: give more text"
            )
        rng = np.random.default_rng(held_out_seed(plan.seed, 0, Purpose.TEXT))
        return Reading(
            self.model, streams.take(rng.permutation(len(streams))[: plan.episodes]), len(streams), self.live
        )
