"""Files of made-up gate weights, as a capture writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wdmoe_env.gating.trace_file import write_trace


def softmax(tokens: int, layers: int = 2, experts: int = 5, seed: int = 0) -> Any:
    """Gate weights (tokens, layers, experts) float32 that tell token, layer and expert apart."""
    logits = np.random.default_rng(seed).normal(size=(tokens, layers, experts)) * 1.5
    weights = np.exp(logits)
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)


def record(
    path: Path, lengths: Sequence[int] = (12,) * 10, dtype: Any = np.float16, top_k: int = 2, **sizes: int
) -> str:
    """Write a trace whose documents have the given lengths; its name for a scenario."""
    document = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    write_trace(path, softmax(sum(lengths), **sizes).astype(dtype), document, {"top_k": str(top_k)})
    return str(path)
