"""What a model's routers do with text: how sure they are, how even the load is, what the second expert brings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from wdmoe_env.moe.small.model import score, tokens


@torch.inference_mode()
def router_statistics(model: Any, texts: Sequence[bytes]) -> dict[str, Any]:
    """Routing of a model of this project on the first window of each text.

    Returns:
        `first_weight`: mean weight of a token's first expert among its top-k, of each layer (1 / k would be a router
        that does not care); `load`: share of the chosen experts that each is, (layers, experts).
    """
    context, top_k = int(model.config.max_position_embeddings), int(model.config.num_experts_per_tok)
    windows = [tokens(text[: context - 1])[None] for text in texts]
    found = [model(input_ids=rows, output_router_logits=True, use_cache=False).router_logits for rows in windows]
    first, load = [], []
    for layer in zip(*found, strict=True):
        weights, chosen = torch.cat(layer).float().softmax(-1).topk(top_k)
        first.append(float((weights[:, 0] / weights.sum(-1)).mean()))
        counts = torch.bincount(chosen.flatten(), minlength=model.config.num_local_experts)
        load.append((counts / counts.sum()).tolist())
    return {"first_weight": first, "load": load}


def first_expert_bits(model: Any, texts: Sequence[bytes]) -> list[float]:
    """Bits of each text as `score` counts them, with each token's best expert alone in every layer."""
    with _experts_per_token(model, 1):
        return score(model, texts)


@contextmanager
def _experts_per_token(model: Any, top_k: int) -> Iterator[None]:
    gates = [layer.mlp.gate for layer in model.model.layers]
    before = [gate.top_k for gate in gates]
    try:
        for gate in gates:
            gate.top_k = top_k
        yield
    finally:
        for gate, own in zip(gates, before, strict=True):
            gate.top_k = own
