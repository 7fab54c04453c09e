from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from support.miniature import DENSE, OPTIONS, miniature, tokens

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from wdmoe_env.moe.routers import Routers  # noqa: E402
from wdmoe_env.moe.rules import Rule  # noqa: E402

IMPLEMENTATIONS = ("eager", "batched_mm", "grouped_mm")
families = pytest.mark.parametrize("family", sorted(OPTIONS))


def run(model: Any, implementation: str = "eager") -> Any:
    """Logits of the same tokens, which nothing is sampled for."""
    model.config._experts_implementation = implementation
    with torch.no_grad():
        return model(tokens()).logits


def best(weights: Any, k: int) -> Any:
    return torch.zeros_like(weights, dtype=torch.bool).scatter(1, weights.topk(k, dim=-1).indices, True)


@families
def test_weights_are_the_router_s_own_softmax(family: str) -> None:
    model, seen, own = miniature(family), {}, []
    routers = Routers(model)
    assert (routers.layers, routers.experts, routers.top_k) == (3 - DENSE.get(family, 0), 6, 3)
    assert routers.family == model.config.model_type
    for name, module in model.named_modules():
        if name.endswith(".gate"):
            module.register_forward_hook(lambda module, inputs, output: own.append((inputs[0], output)))
    with routers.intercept(lambda layer, weights: seen.update({layer: weights})):
        run(model)
    gates = [module for name, module in model.named_modules() if name.endswith(".gate")]
    assert sorted(seen) == list(range(len(gates)))
    for layer, (gate, (inputs, (_, scores, indices))) in enumerate(zip(gates, own, strict=True)):
        expected = torch.softmax(inputs.reshape(-1, 16) @ gate.weight.T, dim=-1)
        torch.testing.assert_close(seen[layer], expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(seen[layer].sum(dim=1), torch.ones(22))
        assert (seen[layer].topk(3).indices.sort().values == indices.sort().values).all()
        picked = seen[layer].gather(1, indices)
        if routers.rule.renormalised:
            picked = picked / picked.sum(dim=1, keepdim=True)
        torch.testing.assert_close(scores, picked * routers.rule.factor)
    assert routers.rule.factor == (1.7 if family == "deepseek-v2" else 1.0)
    assert routers.rule.renormalised == (family in ("mixtral", "olmoe-renormalised", "qwen3-moe"))


@pytest.mark.slow
@families
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_top_k_by_hand_changes_nothing(family: str, implementation: str) -> None:
    model = miniature(family)
    plain = run(model, implementation)
    with Routers(model).intercept(lambda layer, weights: best(weights, 3)):
        by_hand = run(model, implementation)
    torch.testing.assert_close(by_hand, plain, rtol=0, atol=1e-6)
    torch.testing.assert_close(run(model, implementation), plain, rtol=0, atol=0)


@pytest.mark.slow
@families
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_one_expert_by_hand_is_the_model_that_routes_to_one(family: str, implementation: str) -> None:
    with Routers(model := miniature(family)).intercept(lambda layer, weights: best(weights, 1)):
        by_hand = run(model, implementation)
    single = run(miniature(family, num_experts_per_tok=1), implementation)
    torch.testing.assert_close(by_hand, single, rtol=0, atol=1e-5)
    assert not torch.allclose(by_hand, run(model, implementation), atol=1e-3)


@pytest.mark.slow
@families
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_any_selection_follows_the_model_s_rule(family: str, implementation: str) -> None:
    """Against a sum over experts that is written out, in every layer."""
    model = miniature(family)
    routers, generator = Routers(model), torch.Generator().manual_seed(3)
    counts = 1 + torch.arange(22).unsqueeze(1) % 3
    selections = [torch.rand((22, 6), generator=generator).argsort(dim=1) < counts for _ in range(routers.layers)]
    selections[0][:11] = torch.eye(6, dtype=torch.bool)[torch.arange(11) % 6]  # one expert, seldom the best
    checked = []
    for module in model.modules():
        if hasattr(module, "gate_up_proj") and hasattr(module, "num_experts"):
            module.register_forward_hook(lambda module, inputs, output: checked.append((module, inputs[0], output)))
    weights: dict[int, Any] = {}

    def decide(layer: int, softmax: Any) -> Any:
        weights[layer] = softmax
        return selections[layer]

    with routers.intercept(decide):
        run(model, implementation)
    assert len(checked) == routers.layers
    for layer, (module, hidden, output) in enumerate(checked):
        kept = weights[layer] * selections[layer]
        if routers.rule.renormalised:
            kept = kept / kept.sum(dim=1, keepdim=True)
        gate, up = torch.einsum("th,eih->tei", hidden, module.gate_up_proj).chunk(2, dim=-1)
        out = torch.einsum("tei,ehi->teh", module.act_fn(gate) * up, module.down_proj)
        expected = torch.einsum("te,teh->th", kept * routers.rule.factor, out)
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)


def test_none_leaves_the_router_s_own_choice() -> None:
    model = miniature("olmoe")
    with Routers(model).intercept(lambda layer, weights: None):
        untouched = run(model)
    torch.testing.assert_close(untouched, run(model), rtol=0, atol=0)


def test_experts_that_the_softmax_rounds_to_nothing_can_be_kept_alone() -> None:
    model = miniature("mixtral")
    routers = Routers(model)
    for module in routers._modules:
        next(module.parameters()).data.mul_(1e4)
    with routers.intercept(lambda layer, weights: weights.argsort(dim=1).argsort(dim=1) < 2):
        assert run(model).isfinite().all()


def test_half_precision_keeps_its_type() -> None:
    model = miniature("mixtral").to(torch.bfloat16)
    plain = run(model)
    with Routers(model).intercept(lambda layer, weights: best(weights, 3)):
        by_hand = run(model)
    assert by_hand.dtype == torch.bfloat16
    torch.testing.assert_close(by_hand, plain, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (torch.zeros(22, 6, dtype=torch.bool), "selection of layer 0 keeps 0 experts of token 0, expected 1 to 3"),
        (torch.ones(22, 6, dtype=torch.bool), "keeps 6 experts of token 0, expected 1 to 3"),
        (torch.ones(22, 6), r"is torch.float32 \(22, 6\), expected torch.bool \(22, 6\)"),
        (torch.ones(2, 11, 6, dtype=torch.bool), r"is torch.bool \(2, 11, 6\), expected torch.bool \(22, 6\)"),
        (7, r"is 7, expected torch.bool \(22, 6\)"),
    ],
)
def test_wrong_selections_are_refused_and_leave_no_hook(selection: Any, message: str) -> None:
    model = miniature("mixtral")
    plain, routers = run(model), Routers(model)
    with pytest.raises(ValueError, match=message), routers.intercept(lambda layer, weights: selection):
        run(model)
    torch.testing.assert_close(run(model), plain, rtol=0, atol=0)


def test_contexts_do_not_overlap() -> None:
    routers = Routers(miniature("mixtral"))
    with routers.intercept(lambda layer, weights: None):
        for _ in range(2):
            with pytest.raises(RuntimeError, match="intercepted already"), routers.intercept(best):
                pass
    with routers.intercept(lambda layer, weights: None):
        pass


def test_looking_at_a_model_changes_nothing_of_it() -> None:
    model = miniature("deepseek-v2").train()
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    Routers(model)
    assert all(module.training for module in model.modules())
    assert {m.top_k for m in model.modules() if "Router" in type(m).__name__} == {3}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def dense() -> Any:
    options = {"vocab_size": 37, "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1}
    from transformers import AutoModelForCausalLM, LlamaConfig

    return AutoModelForCausalLM.from_config(LlamaConfig(**options, num_attention_heads=2, num_key_value_heads=2))


def sigmoid() -> Any:
    from transformers import AutoModelForCausalLM, DeepseekV3Config

    heads = {"qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 4, "kv_lora_rank": 4, "q_lora_rank": None}
    sizes = {"vocab_size": 37, "hidden_size": 16, "intermediate_size": 8, "moe_intermediate_size": 8}
    return AutoModelForCausalLM.from_config(
        DeepseekV3Config(
            **heads, **sizes, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, n_routed_experts=8,
            num_experts_per_tok=2, n_group=2, topk_group=1, first_k_dense_replace=1,
        )
    )  # fmt: skip


def grouped() -> Any:
    return miniature("deepseek-v2", topk_method="group_limited_greedy", n_group=2, topk_group=1)


def small(config: str, **options: Any) -> Any:
    import transformers

    common = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    common |= {"num_key_value_heads": 2, "intermediate_size": 12, "max_position_embeddings": 64}
    torch.manual_seed(3)
    built = getattr(transformers, config)(**{**common, **options})
    return transformers.AutoModelForCausalLM.from_config(built).eval()


def hunyuan() -> Any:
    return small("HunYuanMoEV1Config", head_dim=8, num_experts=6, moe_topk=3)


def jetmoe() -> Any:
    return small("JetMoeConfig", num_local_experts=4, num_experts_per_tok=2, kv_channels=8)


def dbrx() -> Any:
    import transformers

    config = transformers.DbrxConfig(
        d_model=16, n_heads=2, n_layers=2, vocab_size=64, attn_config={"kv_n_heads": 2, "rope_theta": 1e4},
        ffn_config={"ffn_hidden_size": 12, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 16},
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config)


def test_a_router_is_known_by_what_it_returns_and_not_by_its_name() -> None:
    model = hunyuan()
    routers = Routers(model)
    assert (routers.layers, routers.experts, routers.top_k) == (2, 6, 3)
    assert routers.rule == Rule(True, 1.0)
    ids = tokens()
    with torch.no_grad():
        own = model(ids).logits
        with routers.intercept(lambda layer, weights: best(weights, 3)):
            by_hand = model(ids).logits
        with routers.intercept(lambda layer, weights: best(weights, 1)):
            one = model(ids).logits
    torch.testing.assert_close(by_hand, own, rtol=0, atol=1e-5)
    assert not torch.allclose(one, own, atol=1e-3)


def uneven() -> Any:
    model, other = miniature("mixtral"), miniature("mixtral", num_local_experts=5)
    model.model.layers[1] = other.model.layers[1]
    return model


def unlike() -> Any:
    model, other = miniature("mixtral"), miniature("mixtral", num_experts_per_tok=2)
    model.model.layers[2] = other.model.layers[2]
    return model


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (dense, "the llama model has no mixture-of-experts layers"),
        (sigmoid, "the deepseek_v3 model's router model.layers.1.mlp.gate cannot be used: its scores.*sigmoid"),
        (
            grouped,
            "cannot be used: it limits experts to groups .topk_method is 'group_limited_greedy'., expected greedy",
        ),
        (jetmoe, r"the jetmoe model's router model\.layers\.0\S+ cannot be used: it returns a tuple, expected"),
        (dbrx, r"the dbrx model has routers of a kind that is not known: transformer\S+, a DbrxRouter, has no num_exp"),
        (uneven, "the mixtral model's layers differ: num_experts is 6 in model.layers.0.mlp.gate, 5 in .*layers.1"),
        (unlike, "layers differ: top_k is 3 in model.layers.0.mlp.gate, 2 in model.layers.2"),
    ],
)
def test_models_that_do_not_fit_are_refused_with_the_reason(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Routers(build())


class OddRouter(torch.nn.Linear):  # type: ignore[name-defined, misc]
    """Returns its logits alone."""

    num_experts, top_k = 4, 2


def test_a_router_of_another_kind_is_refused() -> None:
    model = torch.nn.Sequential(OddRouter(3, 4))
    model.config = SimpleNamespace(model_type="odd")  # type: ignore[assignment]
    with pytest.raises(ValueError, match="the odd model's router 0 cannot be used: it returns a Tensor, expected"):
        Routers(model)
