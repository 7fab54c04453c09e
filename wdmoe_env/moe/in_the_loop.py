"""A policy in the loop of a real model: it decides the experts of the very tokens that the model then predicts from."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache

from wdmoe_env.arrays import BoolArray, FloatArray, IntArray
from wdmoe_env.interface import Observation
from wdmoe_env.moe.routers import Routers
from wdmoe_env.scenario import Scenario
from wdmoe_env.simulator.simulator import Simulator

TRIED_TOKENS = 12
"""Made-up tokens that a model is tried with."""
Act = Callable[[Observation], BoolArray]
"""Decides a layer, steps the simulator, and returns the (N, J, E) selection that it decided on."""


class ModelInTheLoop:
    """A causal language model whose experts a policy chooses, layer by layer, while it reads text.

    An episode reads one stream of tokens: `passes_per_episode` forward passes over J = `traffic.tokens` consecutive
    ones, whose keys and values are kept in between. In each MoE layer the simulator is shown the router's weights of
    these tokens, and what is decided then replaces the router's choice. So later layers see what earlier decisions did.

    Args:
        model: a transformers causal language model with routers that `Routers` knows; put into evaluation mode.
        tried: whether it is tried with made-up tokens first, which a model whose experts are elsewhere cannot be.

    Raises:
        ValueError: its routers are of another kind, or it reads otherwise in passes than at once.
    """

    def __init__(self, model: nn.Module, tried: bool = True) -> None:
        self.model, self.routers = model.eval(), Routers(model)
        self._config: Any = model.config
        self._cache = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
        if tried:
            self._check_passes()

    @property
    def longest(self) -> int | None:
        """Most tokens that the model can tell the places of; None where its configuration does not say."""
        found = getattr(self._config, "max_position_embeddings", None)
        return None if found is None else int(found)

    def forward(self, ids: Tensor, cache: DynamicCache) -> Tensor:
        """Logits (B, T, V) of one pass over (B, T) tokens behind those of the cache, which they join."""
        ids = ids.to(next(self.model.parameters()).device)
        out: Any = self.model(input_ids=ids, use_cache=True, **{self._cache: cache})
        return out.logits

    def new_cache(self) -> DynamicCache:
        """Keys and values of nothing, for `forward`."""
        return DynamicCache(config=self._config)

    def _check_passes(self) -> None:
        """Compare made-up tokens read in passes with the same read at once: not every family goes on from its cache."""
        tokens = min(TRIED_TOKENS, self.longest or TRIED_TOKENS)
        vocabulary = int(getattr(self._config, "vocab_size", 2))
        ids = torch.from_numpy(np.random.default_rng(0).integers(vocabulary, size=(1, tokens)))
        try:
            with torch.inference_mode():
                whole = self.forward(ids, self.new_cache())
                cache, parts = self.new_cache(), ids.tensor_split((tokens // 3, 2 * tokens // 3), dim=1)
                in_passes = torch.cat([self.forward(part, cache) for part in parts if part.shape[1]], dim=1)
        except Exception as error:  # whatever a family's own code makes of a cache that is none of its kind
            raise ValueError(f"the {self.routers.family} model cannot be read in passes: {error}") from error
        off = (in_passes - whole).abs().amax(dim=-1)[0].float()
        # Rounding may turn a router's choice in single tokens, what is lost between passes all that follow.
        tolerance = 64.0 * torch.finfo(whole.dtype).eps * float(whole.abs().max())
        if float(off[tokens // 3 :].median()) > max(tolerance, 1e-4):
            raise ValueError(
                f"the {self.routers.family} model reads otherwise in passes than at once (logits differ by "
                f"{float(off.max()):.2g}): something is lost between passes, so that its loss would be wrong"
            )

    def check_fits(self, scenario: Scenario) -> None:
        """Raise a ValueError that names what of the scenario's model is not as in this one.

        Sizes of the hidden state and of the experts may differ: the cell may carry those of a larger model.
        """
        own = {name: getattr(self.routers, name) for name in ("layers", "experts", "top_k")}
        wrong = [
            f"model.{name} is {getattr(scenario.model, name)}, expected {value}"
            for name, value in own.items()
            if getattr(scenario.model, name) != value
        ]
        if wrong:
            raise ValueError(
                f"scenario {scenario.name!r} is not for this {self.routers.family} model: {', '.join(wrong)}"
            )
        length = stream_length(scenario)
        if (longest := self.longest) is not None and length > longest:
            raise ValueError(
                f"scenario {scenario.name!r} has streams of {length} tokens (traffic.tokens * "
                f"traffic.passes_per_episode), expected at most the {longest} that the model can tell apart"
            )

    def read(self, tokens: IntArray, simulator: Simulator, act: Act) -> FloatArray:
        """Read a stream in each environment, from the simulator's present state on.

        Args:
            tokens: (N, L) ids of the streams, L = `stream_length(scenario)`.
            simulator: N environments at the beginning of an episode, of a scenario that fits.
            act: called once a layer.

        Returns:
            (N, L - 1) nats that each token but the first takes, which has nothing before it.

        Raises:
            ValueError: the streams have another form.
            RuntimeError: `act` did not step the simulator, or did more.
        """
        scenario, count = simulator.scenario, simulator.num_envs
        expected = count, stream_length(scenario)
        if tokens.shape != expected:
            raise ValueError(f"tokens have shape {tokens.shape}, expected (streams, tokens) = {expected}")
        ids = torch.as_tensor(np.ascontiguousarray(tokens), device=next(self.model.parameters()).device)
        cache, parts = self.new_cache(), []
        decide = _Decide(simulator, act)
        with torch.inference_mode(), self.routers.intercept(decide):
            for start in range(0, expected[1], scenario.traffic.tokens):
                inputs = ids[:, start : start + scenario.traffic.tokens]
                logits = self.forward(inputs, cache)
                parts.append(_nats(logits, ids[:, start + 1 : start + 1 + scenario.traffic.tokens]))
        return np.concatenate(parts, axis=1)


class _Decide:
    """What the routers ask: shows their weights to the simulator and gives back what was decided."""

    def __init__(self, simulator: Simulator, act: Act) -> None:
        self._simulator, self._act = simulator, act

    def __call__(self, layer: int, weights: Tensor) -> Tensor:
        simulator, before = self._simulator, self._simulator.steps
        shape = simulator.num_envs, simulator.scenario.traffic.tokens, simulator.scenario.model.experts
        observation = simulator.show_gates(weights.cpu().numpy().reshape(shape))
        selection = self._act(observation)
        if simulator.steps != before + 1 or before % simulator.scenario.model.layers != layer:
            raise RuntimeError(
                f"step {simulator.steps} follows step {before} in the model's layer {layer}: "
                "expected one step a layer, from the beginning of an episode on"
            )
        return torch.from_numpy(np.ascontiguousarray(selection).reshape(weights.shape))


def stream_length(scenario: Scenario) -> int:
    """Tokens that an episode reads, L."""
    return scenario.traffic.tokens * scenario.traffic.passes_per_episode


def _nats(logits: Tensor, targets: Tensor) -> FloatArray:
    """Negative log-likelihood of the (N, T) tokens that follow, from logits (N, J, V) of at least T places."""
    # Stream by stream: single precision of all logits at once would take as much memory as the largest vocabulary asks.
    rows = [
        functional.cross_entropy(place[: len(target)].float(), target, reduction="none")
        for place, target in zip(logits, targets, strict=True)
    ]
    return torch.stack(rows).double().cpu().numpy()
