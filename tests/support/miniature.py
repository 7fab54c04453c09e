"""Language models of a few thousand random weights, one of each family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

COMMON = {
    "vocab_size": 37,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEADS = {"qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 4, "kv_lora_rank": 4, "q_lora_rank": None}
MOE = {"num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 8, "intermediate_size": 12}
DEEPSEEK = {**MOE, **HEADS, "n_routed_experts": 6, "n_shared_experts": 1, "first_k_dense_replace": 1}
DEEPSEEK.pop("num_experts")

OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("MixtralConfig", {"num_local_experts": 6, "num_experts_per_tok": 3, "intermediate_size": 8}),
    "olmoe": ("OlmoeConfig", {"num_experts": 6, "num_experts_per_tok": 3, "intermediate_size": 8}),
    "olmoe-renormalised": (
        "OlmoeConfig",
        {"num_experts": 6, "num_experts_per_tok": 3, "intermediate_size": 8, "norm_topk_prob": True},
    ),
    "qwen2-moe": ("Qwen2MoeConfig", {**MOE, "shared_expert_intermediate_size": 8, "decoder_sparse_step": 1}),
    "qwen3-moe": ("Qwen3MoeConfig", {**MOE, "head_dim": 8, "norm_topk_prob": True, "mlp_only_layers": [1]}),
    "deepseek-v2": ("DeepseekV2Config", {**DEEPSEEK, "routed_scaling_factor": 1.7}),
}
DENSE = {"qwen3-moe": 1, "deepseek-v2": 1}
"""Layers without experts, of 3."""


def miniature(family: str, **changes: Any) -> Any:
    """A random model in evaluation mode, float32, the same at each call."""
    config, options = OPTIONS[family]
    torch.manual_seed(7)
    built = getattr(transformers, config)(**{**COMMON, **options, **changes})
    return transformers.AutoModelForCausalLM.from_config(built).eval()


def tokens(batch: int = 2, length: int = 11) -> Any:
    """Random token ids, (batch, length)."""
    return torch.randint(3, 37, (batch, length), generator=torch.Generator().manual_seed(1))


def save_bytes(folder: Path, family: str = "mixtral", model: Any = None) -> Path:
    """Save a miniature that reads bytes, with its tokenizer."""
    model = miniature(family, vocab_size=259) if model is None else model
    model.save_pretrained(folder)
    transformers.ByT5Tokenizer(extra_ids=0).save_pretrained(folder)
    return folder
