"""The routers of a mixture-of-experts language model: their softmax, and another choice of experts put in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wdmoe_env.moe.rules import Rule, rule_of

Decide = Callable[[int, Tensor], Tensor | None]
"""Layer and its router softmax (T, E) float32 -> the experts to keep (T, E) bool, or None for the router's own."""


class Routers:
    """All routers of a transformers model whose router modules return logits, scores and indices.

    Known to fit: Mixtral, OLMoE, Qwen2-MoE, Qwen3-MoE, and DeepSeek-V2 with greedy routing. What fits is found out by
    trying each router, so that others of their kind do, too.

    Attributes:
        layers: MoE layers, I, in order of depth; dense layers are not counted.
        experts: experts of a layer, E; shared experts that every token uses are not counted.
        top_k: experts that the router chooses for a token, K.
        family: the model type of its configuration, such as `mixtral`.
        rule: how the softmax becomes the weights of the chosen experts.
    """

    def __init__(self, model: nn.Module) -> None:
        """Find the routers of `model`, which is neither changed nor copied.

        Raises:
            ValueError: it has no MoE layers, they differ, or its routing is none that can be replaced; says which.
        """
        self.family = str(getattr(getattr(model, "config", None), "model_type", type(model).__name__))
        found = _routers_of(model)
        if not found:
            raise ValueError(f"the {self.family} model {_why_none(model)}")
        self._modules = list(found.values())
        self.layers = len(found)
        self.experts = int(self._same(found, "num_experts"))
        self.top_k = int(self._same(found, "top_k"))
        rules = {name: self._rule(name, module) for name, module in found.items()}
        self.rule: Rule = self._agreed(rules, "rule")
        self._busy = False

    def _same(self, found: dict[str, nn.Module], attribute: str) -> Any:
        return self._agreed({name: getattr(module, attribute) for name, module in found.items()}, attribute)

    def _agreed(self, values: dict[str, Any], what: str) -> Any:
        (first, expected), *others = values.items()
        for name, value in others:
            if value != expected:
                raise ValueError(
                    f"the {self.family} model's layers differ: {what} is {expected} in {first}, {value} in {name}"
                )
        return expected

    def _rule(self, name: str, module: nn.Module) -> Rule:
        try:
            return rule_of(module)
        except ValueError as error:
            raise ValueError(f"the {self.family} model's router {name} cannot be used: {error}") from error

    @contextmanager
    def intercept(self, decide: Decide) -> Iterator[None]:
        """Ask `decide` in every layer of every forward call which experts each token uses, while the context is open.

        `decide(layer, weights)` gets the router softmax over all experts, (T, E) float32 without gradient, of all T
        tokens of the call, batch-major. None leaves the router's choice untouched. A bool selection (T, E) of 1 to K
        experts a token, any of them, replaces it: the model's own rule is applied to the kept experts.

        Raises:
            RuntimeError: the routers are intercepted already.
            ValueError: while the model runs, a selection has the wrong form; names the layer and what was expected.
        """
        if self._busy:
            raise RuntimeError("the routers are intercepted already: close that context first")
        self._busy, handles = True, []
        try:
            for layer, module in enumerate(self._modules):
                handles.append(module.register_forward_hook(self._hook(layer, decide)))
            yield
        finally:
            self._busy = False
            for handle in handles:
                handle.remove()

    def _hook(self, layer: int, decide: Decide) -> Callable[[nn.Module, Any, Any], Any]:
        def replace(module: nn.Module, inputs: Any, output: Any) -> Any:
            logits, scores, indices = output
            weights = torch.softmax(logits.float(), dim=-1)
            selection = decide(layer, weights.detach())
            if selection is None:
                return None
            self._check(layer, selection, weights)
            chosen, kept = self._slots(weights, selection.to(weights.device))
            own = self.rule.scores(weights.gather(1, chosen), logits.float().gather(1, chosen), kept)
            return logits, own.to(scores.dtype), chosen.to(indices.dtype)

        return replace

    def _slots(self, weights: Tensor, selection: Tensor) -> tuple[Tensor, Tensor]:
        """The kept experts of each token in K slots, (T, K), best first, and which slots are filled."""
        ranked = weights.detach().masked_fill(~selection, -1.0)
        values, chosen = ranked.topk(self.top_k, dim=-1)
        kept = values >= 0.0
        # Empty slots hold the token's first expert, with weight 0. An index of E, which marks an absent expert, is
        # skipped by the eager implementation alone; batched_mm and grouped_mm take it for a real one.
        return torch.where(kept, chosen, chosen[:, :1]), kept

    def _check(self, layer: int, selection: Any, weights: Tensor) -> None:
        if not isinstance(selection, Tensor) or selection.dtype != torch.bool or selection.shape != weights.shape:
            got = f"{selection.dtype} {tuple(selection.shape)}" if isinstance(selection, Tensor) else repr(selection)
            raise ValueError(f"selection of layer {layer} is {got:.80}, expected torch.bool {tuple(weights.shape)}")
        count = selection.sum(dim=-1)
        if ((count < 1) | (count > self.top_k)).any():
            wrong = int(((count < 1) | (count > self.top_k)).nonzero()[0, 0])
            raise ValueError(
                f"selection of layer {layer} keeps {int(count[wrong])} experts of token {wrong}, "
                f"expected 1 to {self.top_k}"
            )


def _routers_of(model: nn.Module) -> dict[str, nn.Module]:
    """The innermost modules that say how many experts they have and choose: those named for it, and those that fit."""
    counting = {name: module for name, module in model.named_modules() if _counts(module)}
    return {
        name: module
        for name, module in counting.items()
        if not any(other.startswith(f"{name}.") for other in counting) and (_is_named(module) or _fits(module))
    }


def _counts(module: nn.Module) -> bool:
    return all(isinstance(getattr(module, name, None), int) for name in ("num_experts", "top_k"))


def _is_named(module: nn.Module) -> bool:
    return any(word in type(module).__name__.lower() for word in ("router", "gate", "gating"))


def _fits(module: nn.Module) -> bool:
    try:
        rule_of(module)
    except (ValueError, StopIteration):
        return False
    return True


def _why_none(model: nn.Module) -> str:
    """What to say of a model without a router that could be tried."""
    named = ((name, module) for name, module in model.named_modules() if "router" in type(module).__name__.lower())
    if (first := next(named, None)) is None:
        return "has no mixture-of-experts layers with a router of their own"
    return (
        f"has routers of a kind that is not known: {first[0]}, a {type(first[1]).__name__}, has no num_experts and "
        "top_k, expected a module that returns logits, scores and indices"
    )
