from math import log, log2
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.library import TINY
from transformers import AutoModelForCausalLM, AutoTokenizer

from wdmoe_env.moe.small.model import END, VOCABULARY, Architecture, build, load, losses, save, score, tokens
from wdmoe_env.moe.small.routing import first_expert_bits, router_statistics

TEXT = bytes(range(97, 123)) + "Zürich 東京 \x00".encode() + b"\xff\xfe"


@pytest.mark.slow
def test_a_saved_model_loads_as_any_other(tmp_path: Path) -> None:
    model = build(TINY, seed=1)
    save(model, tmp_path)
    found = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    assert type(found).__name__ == "MixtralForCausalLM"
    assert found.dtype == torch.float32
    assert (found.config.num_local_experts, found.config.num_experts_per_tok) == (8, 2)
    for name, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], value.bfloat16().float()), name
    assert (tmp_path / "model.safetensors").stat().st_size < 3.5 * sum(p.numel() for p in model.parameters())
    rows = tokens(TEXT)[None]
    with torch.inference_mode():
        assert torch.equal(found(rows).logits, load(tmp_path)(rows).logits)


def test_the_tokenizer_that_is_saved_knows_all_bytes(tmp_path: Path) -> None:
    save(build(TINY, seed=1), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert len(tokenizer) == VOCABULARY
    text = "naïve Zürich 東京 🙂\n\tdef f(x): return x\x00\x7f"
    assert tokenizer(text, add_special_tokens=False).input_ids == tokens(text.encode())[1:].tolist()
    assert tokenizer.decode(tokens(text.encode())[1:]) == text
    assert tokenizer.eos_token_id == END
    every = bytes(range(256))
    assert tokens(every).tolist() == [END, *(byte + 3 for byte in every)]
    assert tokens(b"").tolist() == [END]


def test_the_seed_decides_the_weights_and_nothing_else() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first, second, other = (build(TINY, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 5, 15, 16, 17, 24, 25, 61])
def test_each_byte_is_scored_once_after_half_a_window_or_its_whole_text(length: int) -> None:
    model, text = build(TINY, seed=3).eval(), (TEXT * 2)[:length]
    row, expected = tokens(text), 0.0
    for place in range(length):
        # Windows of 16 tokens that move by 8: byte 16 is the first of the second window that counts.
        start = 0 if place < 16 else (place - 16) // 8 * 8 + 8
        with torch.inference_mode():
            expected += float(losses(model, row[None, start : place + 2])[0, -1]) / log(2)
    assert score(model, [b"", text, TEXT])[1] == pytest.approx(expected, rel=1e-5)


def test_a_model_that_knows_nothing_pays_for_every_byte_and_for_no_more() -> None:
    def uniform(input_ids: torch.Tensor, use_cache: bool) -> Any:
        return SimpleNamespace(logits=torch.zeros(*input_ids.shape, VOCABULARY))

    uniform.config = SimpleNamespace(max_position_embeddings=16)  # type: ignore[attr-defined]
    texts = [b"", b"a", TEXT, TEXT * 3]
    assert score(uniform, texts) == pytest.approx([len(text) * log2(VOCABULARY) for text in texts])


def test_routers_are_described_and_one_expert_is_not_two() -> None:
    model = build(TINY, seed=3).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.gate.weight.mul_(50)
            layer.mlp.experts.down_proj.mul_(50)
    found = router_statistics(model, [TEXT, TEXT[:3]])
    assert len(found["first_weight"]) == TINY.layers
    assert all(0.5 < weight <= 1 for weight in found["first_weight"])
    assert [sum(layer) for layer in found["load"]] == pytest.approx([1, 1])
    both = score(model, [TEXT])
    assert first_expert_bits(model, [TEXT])[0] != pytest.approx(both[0], rel=1e-4)
    assert score(model, [TEXT]) == both


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 18}, "hidden is 18, expected a multiple of 2 \\* heads = 8"),
        ({"kv_heads": 3}, "kv_heads is 3, expected a divisor of heads = 4"),
        ({"experts": 1}, "top_k is 2, expected at most experts = 1"),
        ({"layers": 0}, "layers is 0, expected a whole number of at least 1"),
        ({"balance": float("nan")}, "balance is nan, expected a number of at least 0"),
    ],
)
def test_sizes_that_fit_nothing_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture(**change)
