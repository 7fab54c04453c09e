"""A policy in the loop of a real model: what the model loses is what the decisions cost it, and nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.miniature import DENSE, miniature
from support.toy import toy

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import baselines  # noqa: E402
from wdmoe_env import Decision, Observation, Policy, Scenario, Simulator  # noqa: E402
from wdmoe_env.moe.in_the_loop import ModelInTheLoop  # noqa: E402

FAMILIES = ("mixtral", "olmoe", "qwen3-moe", "deepseek-v2")


def cell(family: str = "mixtral", **overrides: Any) -> Scenario:
    """6 tokens at a time, 4 times."""
    traffic = {"passes_per_episode": 4, **overrides}
    return toy(experts=6, top_k=3, layers=3 - DENSE.get(family, 0), traffic=traffic)


def streams(scenario: Scenario, count: int = 3) -> Any:
    length = scenario.traffic.tokens * scenario.traffic.passes_per_episode
    return np.random.default_rng(0).integers(3, 37, size=(count, length))


def read(model: Any, scenario: Scenario, policy: Policy, seed: int = 0, seen: list[Observation] | None = None) -> Any:
    tokens = streams(scenario)
    simulator = Simulator(scenario, len(tokens))
    policy.reset(scenario, len(tokens))
    simulator.reset(seed)

    def act(observation: Observation) -> Any:
        if seen is not None:
            seen.append(observation)
        decision = policy.decide(observation)
        simulator.step(decision)
        return decision.selection

    return ModelInTheLoop(model).read(tokens, simulator, act)


def alone(model: Any, tokens: Any, chunk: int) -> Any:
    """Losses of the untouched model, which reads `chunk` tokens at a time."""
    ids, cache, logits = torch.as_tensor(tokens), transformers.DynamicCache(config=model.config), []
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    with torch.no_grad():
        for start in range(0, ids.shape[1], chunk):
            logits.append(model(ids[:, start : start + chunk], use_cache=True, **{name: cache}).logits)
    scores = torch.cat(logits, dim=1)[:, :-1].log_softmax(dim=-1)
    return -scores.gather(2, ids[:, 1:, None])[:, :, 0].numpy()


class Best:
    """Keeps the best expert of each token alone."""

    name = "best"

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        self._policy = baselines.make("top-k")
        self._policy.reset(scenario, num_envs)

    def decide(self, observation: Observation) -> Decision:
        weights = observation.gate_weights
        best = np.zeros(weights.shape, dtype=bool)
        np.put_along_axis(best, weights.argmax(axis=-1, keepdims=True), True, axis=-1)
        return Decision(best, self._policy.decide(observation).bandwidth)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_plain_top_k_has_the_loss_of_the_untouched_model(family: str) -> None:
    model, scenario = miniature(family), cell(family)
    nats = read(model, scenario, baselines.make("top-k"))
    assert nats.shape == (3, 23)
    assert nats.dtype == np.float64
    np.testing.assert_allclose(nats, alone(model, streams(scenario), 6), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(nats, alone(model, streams(scenario), 24), rtol=1e-6, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_best_expert_alone_has_the_loss_of_a_model_that_uses_one(family: str) -> None:
    scenario = cell(family)
    nats = read(miniature(family), scenario, Best())
    one = miniature(family, num_experts_per_tok=1)
    np.testing.assert_allclose(nats, alone(one, streams(scenario), 6), rtol=1e-6, atol=1e-6)
    assert np.abs(nats - alone(miniature(family), streams(scenario), 6)).max() > 1e-3


def test_the_simulator_sees_what_the_routers_say_of_these_tokens() -> None:
    scenario, seen, own = cell(), list[Observation](), []
    model = miniature("mixtral")
    read(model, scenario, baselines.make("top-k"), seen=seen)
    handles = [
        module.register_forward_hook(lambda module, inputs, output: own.append(output[0].softmax(dim=-1).numpy()))
        for name, module in model.named_modules()
        if name.endswith(".gate")
    ]
    alone(model, streams(scenario), 6)
    assert [int(observation.layer[0]) for observation in seen] == [0, 1, 2] * 4
    for observation, weights in zip(seen, own, strict=True):
        np.testing.assert_allclose(observation.gate_weights, weights.reshape(3, 6, 6), atol=1e-6)
    for handle in handles:
        handle.remove()


def test_what_is_decided_changes_what_later_layers_see_and_not_the_cell() -> None:
    scenario, plain, best = cell(), list[Observation](), list[Observation]()
    model = miniature("mixtral")
    read(model, scenario, baselines.make("top-k"), seen=plain)
    read(model, scenario, Best(), seen=best)
    np.testing.assert_array_equal(plain[0].gate_weights, best[0].gate_weights)
    assert not np.allclose(plain[1].gate_weights, best[1].gate_weights)
    for one, other in zip(plain, best, strict=True):
        np.testing.assert_array_equal(one.gain_dl, other.gain_dl)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_losses() -> None:
    scenario, model = cell(), miniature("mixtral")
    first = read(model, scenario, baselines.make("price"), seed=4)
    np.testing.assert_array_equal(first, read(model, scenario, baselines.make("price"), seed=4))
    assert not np.array_equal(first, read(model, scenario, baselines.make("price"), seed=5))


def test_the_model_is_left_as_it_was() -> None:
    scenario, model = cell(), miniature("mixtral")
    before = alone(model, streams(scenario), 6)
    read(model, scenario, Best())
    np.testing.assert_array_equal(alone(model, streams(scenario), 6), before)
    assert not any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (toy(experts=6, top_k=3, layers=3), None),
        (toy(experts=5, top_k=2, layers=3), "'toy' is not for this mixtral model: model.experts is 5, expected 6, mod"),
        (toy(experts=6, top_k=2, layers=32), "model.layers is 32, expected 3, model.top_k is 2, expected 3$"),
        (cell(passes_per_episode=11), "streams of 66 tokens .*, expected at most the 64"),
    ],
)
def test_a_scenario_must_be_of_the_models_shape(scenario: Scenario, message: str | None) -> None:
    model = ModelInTheLoop(miniature("mixtral"))
    if message is None:
        model.check_fits(scenario)
        return
    with pytest.raises(ValueError, match=message):
        model.check_fits(scenario)


def test_streams_of_another_form_are_refused() -> None:
    simulator = Simulator(cell(), 2)
    simulator.reset(0)

    def nothing(seen: Observation) -> Any:
        pytest.fail("a decision was asked for")

    with pytest.raises(ValueError, match=r"shape \(3, 24\), expected \(streams, tokens\) = \(2, 24\)"):
        ModelInTheLoop(miniature("mixtral")).read(streams(cell()), simulator, nothing)


def steps(simulator: Simulator, count: int) -> Callable[[Observation], Any]:
    policy = baselines.make("top-k")
    policy.reset(simulator.scenario, simulator.num_envs)

    def act(observation: Observation) -> Any:
        for _ in range(count):
            simulator.step(policy.decide(simulator.observation))
        return observation.routed

    return act


@pytest.mark.parametrize("count", [0, 2])
def test_whoever_acts_has_to_step_the_simulator_once(count: int) -> None:
    simulator = Simulator(cell(), 3)
    simulator.reset(0)
    with pytest.raises(RuntimeError, match="one step a layer"):
        ModelInTheLoop(miniature("mixtral")).read(streams(cell()), simulator, steps(simulator, count))


def test_an_episode_is_read_from_its_beginning() -> None:
    simulator = Simulator(cell(), 3)
    simulator.reset(0)
    act = steps(simulator, 1)
    act(simulator.observation)
    with pytest.raises(RuntimeError, match="step 2 follows step 1 in the model's layer 0"):
        ModelInTheLoop(miniature("mixtral")).read(streams(cell()), simulator, act)


def jamba(layers: int) -> Any:
    torch.manual_seed(0)
    config = transformers.JambaConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=12, max_position_embeddings=64, initializer_range=0.3, num_experts=4,
        num_experts_per_tok=2, mamba_d_state=8, mamba_d_conv=2, mamba_dt_rank=4, use_mamba_kernels=False,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config)


def test_a_family_that_loses_something_between_passes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the jamba model reads otherwise in passes than at once .logits differ by"):
        ModelInTheLoop(jamba(8))
    # Without a layer of attention the library itself does not go on from the cache.
    with pytest.raises(ValueError, match="the jamba model cannot be read in passes"):
        ModelInTheLoop(jamba(4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", FAMILIES)
def test_families_that_keep_all_are_taken_in_every_precision(family: str, dtype: Any) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        ModelInTheLoop(miniature(family, initializer_range=0.1 * (seed + 1)).to(dtype))


def test_a_model_of_two_places_is_tried_with_two_tokens() -> None:
    ModelInTheLoop(miniature("mixtral", max_position_embeddings=2))
