"""Forward passes of any number of tokens over a testbed: prefill in one, then a token of each stream at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from wdmoe_env.moe.in_the_loop import ModelInTheLoop
from wdmoe_env.moe.routers import Routers
from wdmoe_env.policy import Policy
from wdmoe_env.scenario import Scenario, load_scenario
from wdmoe_env.testbed.cell import LiveCell
from wdmoe_env.testbed.kernel import Links
from wdmoe_env.testbed.layer import LayerRecord
from wdmoe_env.testbed.split_model import attached
from wdmoe_env.testbed.station import Station

Show = Callable[[list[int], list[LayerRecord]], None]
"""Called with the new token of each stream, and the layers that it took."""


def fitted(source: str, model: nn.Module) -> Scenario:
    """A scenario with the layers, experts and top_k of a model; sizes stay: the cell may carry a larger model.

    Raises:
        ValueError: the scenario is none, or has another number of experts where its devices or gates depend on that.
    """
    routers, scenario = Routers(model), load_scenario(source)
    own = {"layers": routers.layers, "experts": routers.experts, "top_k": routers.top_k}
    # Gate weights are the model's own: what a bank would hold is never used.
    return load_scenario(scenario, model=own, gating={"family": "mixtral", "bank_passes": 4})


class Decoder:
    """Generates text with a model whose experts are on devices.

    A pass of J tokens is decided in the scenario with `traffic.tokens` = J; the cell goes on from pass to pass,
    whatever their sizes.

    Args:
        model: of `load_split`.
        scenario: of its layers, experts and top_k.
        station: connected to the devices.
        policy: decides each layer.
        links, slow_down: see `LiveCell`.
    """

    def __init__(
        self, model: nn.Module, scenario: Scenario, station: Station, policy: Policy, links: Links, slow_down: float
    ) -> None:
        self.loop, self.policy = ModelInTheLoop(model, tried=False), policy
        self._scenario, self._station, self._links, self._slow_down = scenario, station, links, slow_down
        self._cells: dict[int, LiveCell] = {}
        self._cell: LiveCell | None = None
        self.records: list[LayerRecord] = []

    def generate(
        self, prompt: list[int], tokens: int, streams: int, temperature: float, seed: int, show: Show | None = None
    ) -> Tensor:
        """Continue a prompt in some streams by up to so many tokens: (streams, tokens) ids.

        Ends early where every stream has ended, or the model can tell no more places.

        Raises:
            ValueError: the prompt is longer than the model can tell the places of.
        """
        longest = self.loop.longest
        if longest is not None and len(prompt) >= longest:
            raise ValueError(
                f"the prompt has {len(prompt)} tokens, expected fewer than the {longest} that the model can tell apart"
            )
        self._seed, self._cell = seed, None
        generator, cache = torch.Generator().manual_seed(seed), self.loop.new_cache()
        ids, made = torch.tensor([prompt]).repeat(streams, 1), list[Tensor]()
        ends = _ends(self.loop.model)
        ended = torch.zeros(streams, dtype=torch.bool)
        inputs = ids
        for count in range(tokens):
            if longest is not None and len(prompt) + count > longest:
                break
            before = len(self.records)
            logits = self.forward(inputs, cache)[:, -1]
            chosen = _choose(logits, temperature, generator)
            made.append(chosen)
            if show is not None:
                show(chosen.tolist(), self.records[before:])
            ended |= torch.isin(chosen, ends)
            if ended.all():
                break
            inputs = chosen[:, None]
        return torch.stack(made, dim=1)

    def forward(self, ids: Tensor, cache: DynamicCache) -> Tensor:
        """Logits of one pass over (B, T) tokens behind those of the cache: (B, T, V)."""
        cell = self._enter(ids.numel())

        def decide(layer: int, weights: Tensor) -> Tensor:
            observation = cell.show_gates(weights.cpu().numpy()[None])
            decision = self.policy.decide(observation)
            cell.step(decision)
            return torch.from_numpy(np.ascontiguousarray(decision.selection[0]))

        with torch.inference_mode(), self.loop.routers.intercept(decide), attached(self.loop.model, cell.run):
            logits = self.loop.forward(ids, cache)
        self.records += cell.take_records()
        return logits

    def _enter(self, tokens: int) -> LiveCell:
        """The cell for passes of so many tokens, where the last one is."""
        before = self._cell
        if (cell := self._cells.get(tokens)) is None:
            scenario = load_scenario(self._scenario, traffic={"tokens": tokens})
            cell = LiveCell(scenario, self._station, self.loop.routers.rule, self._links, self._slow_down)
            self._cells[tokens] = cell
        if cell is not before:
            self.policy.reset(cell.scenario, 1)
            cell.reset(self._seed)
            if before is not None:
                cell.follow(before)
        self._cell = cell
        return cell


def _ends(model: nn.Module) -> Tensor:
    """Tokens that end a text."""
    found = getattr(model.config, "eos_token_id", None)
    return torch.tensor([] if found is None else [found] if isinstance(found, int) else list(found), dtype=torch.int64)


def _choose(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    if temperature == 0.0:
        return logits.argmax(dim=-1).cpu()
    return torch.multinomial(torch.softmax(logits.float().cpu() / temperature, dim=-1), 1, generator=generator)[:, 0]
