"""Options of a training run of the small model, and the names of its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

CHECKPOINT, RESULT = "checkpoint", "bits.json"
FREE = ("out", "resume", "threads", "checkpoint_every")
"""Options that may be others when a run goes on."""


@dataclass(frozen=True)
class Options:
    """Train a small mixture-of-experts model of bytes on Python's own library; Ctrl-C and SIGTERM save a checkpoint.

    The folder then holds the model and its tokenizer, as transformers loads them, and bits.json.
    """

    out: Path
    """Folder for the model; new, unless --resume is given."""
    resume: bool = False
    """Go on where a stopped run in --out was; all other options must be as they were."""
    steps: int = 2500
    """Updates."""
    batch: int = 4
    """Windows of --context bytes in each update."""
    context: int = 512
    """Bytes that the model sees at once."""
    hidden: int = 256
    """Width of the model."""
    layers: int = 4
    """Decoder layers."""
    heads: int = 4
    """Attention heads."""
    kv_heads: int = 2
    """Heads of keys and values."""
    intermediate: int = 128
    """Inner width of an expert."""
    experts: int = 8
    """Experts in each layer; a token uses two."""
    balance: float = 0.02
    """Weight of the loss that keeps experts evenly used."""
    muon_rate: float = 0.02
    """Highest learning rate of the matrices, which Muon trains."""
    adam_rate: float = 0.004
    """Highest learning rate of embeddings, routers and norms, which AdamW trains."""
    warm_up: int = 20
    """Updates over which the learning rates rise; then they fall in a straight line."""
    seed: int = 0
    """Seed of the first weights and of the order of the text."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """What matrices are multiplied in; bf16 is slow on a CPU that lacks it."""
    threads: Annotated[int, Field(ge=1)] = 2
    """Threads of torch."""
    validate_every: Annotated[int, Field(ge=1)] = 250
    """Updates between looks at a part of the validation texts."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 250
    """Updates between checkpoints."""
    ngram: Annotated[int, Field(ge=0)] = 12
    """Bytes of the longest context of the n-gram model that the model is compared with."""
    library: Path | None = None
    """Folder of sources to learn; default: the standard library of the running Python."""
