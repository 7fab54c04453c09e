"""A small mixture-of-experts language model over bytes, made of the Mixtral classes of `transformers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
from pydantic import Field
from tokenizers import Tokenizer, decoders, models
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from wdmoe_env.checks import check_fields
from wdmoe_env.files.atomic import write_bytes

SPECIALS = ("<pad>", "</s>", "<unk>")
"""Padding, end of text, unknown: the tokens before those of the 256 bytes, numbered as those of ByT5."""
VOCABULARY = len(SPECIALS) + 256
Count = Annotated[int, Field(ge=1)]
END = 1
"""Stands before each text, and so between texts."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of a model; the defaults are those of the small model.

    Attributes:
        hidden: width of the residual stream.
        layers: decoder layers, each with a mixture of experts.
        heads: attention heads.
        kv_heads: heads of keys and values, which heads share.
        intermediate: inner width of an expert.
        experts: experts a layer.
        top_k: experts a token.
        context: bytes that the model sees at once.
        balance: weight of the loss that keeps experts evenly used.
    """

    hidden: Count = 256
    layers: Count = 4
    heads: Count = 4
    kv_heads: Count = 2
    intermediate: Count = 128
    experts: Count = 8
    top_k: Count = 2
    context: Count = 512
    balance: Annotated[float, Field(ge=0)] = 0.02

    def __post_init__(self) -> None:
        check_fields(self)
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden is {self.hidden}, expected a multiple of 2 * heads = {2 * self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads is {self.kv_heads}, expected a divisor of heads = {self.heads}")
        if self.top_k > self.experts:
            raise ValueError(f"top_k is {self.top_k}, expected at most experts = {self.experts}")


def build(architecture: Architecture, seed: int) -> Any:
    """A `MixtralForCausalLM` with random weights drawn from the seed; the global random state is left as it was."""
    kind: Any = MixtralConfig  # its keywords of implementation are not declared
    config = kind(
        vocab_size=VOCABULARY,
        hidden_size=architecture.hidden,
        intermediate_size=architecture.intermediate,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.kv_heads,
        num_local_experts=architecture.experts,
        num_experts_per_tok=architecture.top_k,
        max_position_embeddings=architecture.context,
        # That of `transformers` is top_k where experts are evenly used, ours is 1.
        router_aux_loss_coef=architecture.balance / architecture.top_k,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=END,
        # On a CPU the loop over experts trains faster than grouped_mm (batched_mm copies an expert for each token).
        experts_implementation="eager",
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MixtralForCausalLM(config)


def tokens(text: bytes) -> Tensor:
    """The tokens of a text, with the end of the text before it in front: (len(text) + 1,) of int64."""
    values = torch.frombuffer(bytearray(text), dtype=torch.uint8).to(torch.int64) if text else torch.empty(0).long()
    return torch.cat([torch.tensor([END]), values + len(SPECIALS)])


def tokenizer(context: int) -> Any:
    """A tokenizer of bytes: text becomes the tokens of its UTF-8 bytes, and nothing is put before or after.

    `ByT5Tokenizer` gives the same tokens, but beside a Mixtral model `AutoTokenizer` does not load it.
    """
    names = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256))]
    # No character is in the vocabulary, so each falls back to its bytes.
    model = models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[], byte_fallback=True)
    bytewise = Tokenizer(model)
    bytewise.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    pad, end, unknown = SPECIALS
    kind: Any = PreTrainedTokenizerFast
    return kind(tokenizer_object=bytewise, pad_token=pad, eos_token=end, unk_token=unknown, model_max_length=context)


def save(model: Any, folder: Path) -> None:
    """Write the model and its tokenizer, for `AutoModelForCausalLM` and `AutoTokenizer`.

    Weights are written as bfloat16, which halves the file; the configuration asks to compute in float32. Each file is
    written whole or not at all.

    Raises:
        OSError: the disk is full or not writable.
    """
    state = {name: value.detach().to(torch.bfloat16) for name, value in model.state_dict().items()}
    disable_progress_bar()  # type: ignore[no-untyped-call]
    folder.mkdir(parents=True, exist_ok=True)
    # What a killed process leaves of it, `tidy` clears.
    with TemporaryDirectory(prefix=".", suffix=".part", dir=folder) as made:
        model.save_pretrained(made, state_dict=state)
        tokenizer(model.config.max_position_embeddings).save_pretrained(made)
        for path in sorted(Path(made).iterdir()):
            write_bytes(folder / path.name, path.read_bytes())


def load(folder: Path) -> Any:
    """What `save` wrote, to compute in float32."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    return model.eval()


@torch.inference_mode()
def score(model: Any, texts: Sequence[bytes], batch: int = 16) -> list[float]:
    """Bits that each text takes, every byte predicted once from the bytes before it in its own text.

    Windows of `context` tokens move by half a window. Of each window but a text's first only the second half counts, so
    a byte has at least half a context before it, or its whole text so far. A text begins after an end-of-text token.
    """
    context = int(model.config.max_position_embeddings)
    stride = max(context // 2, 1)
    windows = [(i, start) for i, text in enumerate(texts) for start in _starts(len(text), context, stride)]
    # Windows of like length together, so that little is padded.
    windows.sort(key=lambda window: min(len(texts[window[0]]) - window[1], context), reverse=True)
    rows = [tokens(text) for text in texts]
    bits = [0.0] * len(texts)
    for first in range(0, len(windows), batch):
        group = windows[first : first + batch]
        parts = [rows[i][start : start + context + 1] for i, start in group]
        nats = losses(model, torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=0))
        for (i, start), part, own in zip(group, parts, nats, strict=True):
            counted = own[context - stride if start else 0 : len(part) - 1]
            bits[i] += float(counted.double().sum()) / log(2)
    return bits


def _starts(length: int, context: int, stride: int) -> range:
    """Where windows begin: the last one reaches the end of the text, and none begins that adds no byte."""
    return range(0, max(length - context + stride, 1), stride) if length else range(0)


def losses(model: Any, rows: Tensor) -> Tensor:
    """Nats of each token but the first of (B, T + 1) tokens: (B, T)."""
    logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits.float().transpose(1, 2), rows[:, 1:], reduction="none")
