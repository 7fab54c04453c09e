from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from support.run_files import assert_same_run, table, text
from support.toy import preset, toy

from agents.files.run_dir import RunDir
from agents.plan.hyperparameters import hyperparameters
from agents.plan.plan import Plan
from agents.plan.prices import price_action
from agents.policies.trained import TrainedPolicy
from agents.sb3.build import build
from agents.sb3.vec_env import WDMoEVecEnv
from agents.training import one_run, trainer
from agents.warm_start import imitation, split_ascent
from baselines.validation import validate
from wdmoe_env import Scenario, Simulator, load_scenario
from wdmoe_env.allocation import allocate_for
from wdmoe_env.envs.codecs import action_codec
from wdmoe_env.gating import bank

Make = Callable[..., Plan]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CELLS": 16, "DEVICES": 512, "BATCH": 512, "UPDATES": 10}.items():
        monkeypatch.setattr(imitation, name, value)
        monkeypatch.setattr(split_ascent, name, value)


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "bandwidth"), [("ppo", "optimal"), ("ppo", "learned"), ("sac", "optimal")])
def test_beats_the_untrained_policy(algorithm: Any, bandwidth: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imitation, "UPDATES", 120)
    scenario = preset("paper", bandwidth=bandwidth)
    model = build(algorithm, WDMoEVecEnv(scenario, 2), hyperparameters(algorithm, "paper", width=16), 0, lambda: 0.0)
    policy, simulator = TrainedPolicy("run", model.policy, scenario), Simulator(scenario, 4, "validation")
    before = validate(policy, simulator)["reward"]
    found = imitation.imitate(model.policy, imitation.collect(scenario, 0, 16), 0)
    assert found.after < 0.6 * found.before
    assert validate(policy, simulator)["reward"] > before + 0.08


@pytest.mark.slow
def test_only_the_actors_mean_changes(tiny: Scenario) -> None:
    samples = imitation.collect(tiny, 0, 4)
    for algorithm, prefixes in (
        ("ppo", ("mlp_extractor.actor.", "action_net.")),
        ("sac", ("actor.latent_pi.", "actor.mu.")),
    ):
        settings = hyperparameters(algorithm, "paper", width=8)  # type: ignore[arg-type]
        model = build(algorithm, WDMoEVecEnv(tiny, 2), settings, 0, lambda: 0.0)  # type: ignore[arg-type]
        before = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
        state = torch.get_rng_state()
        imitation.imitate(model.policy, samples, 0)
        assert torch.equal(state, torch.get_rng_state())
        changed = {name for name, tensor in model.policy.state_dict().items() if not torch.equal(tensor, before[name])}
        assert changed == {name for name in before if name.startswith(prefixes)}


def test_imitates_what_the_action_means() -> None:
    # Most of what prices decide is decided alike by the action that holds them.
    scenario = preset("paper", bandwidth="learned")
    teacher, observation = imitation.Price(), Simulator(scenario, 16).reset(0)
    teacher.reset(scenario, 16)
    solution = teacher.solve(observation)
    action, matters = imitation._target(solution, observation, scenario)
    meant = action_codec("price", scenario).decode(action, observation)
    assert (meant.selection == solution.decision.selection).mean() > 0.99
    assert action.shape == matters.shape == (16, 16)
    assert (matters[:, 8:] == (solution.decision.bandwidth > 0)).all()
    used = solution.decision.bandwidth > 0
    np.testing.assert_allclose(np.where(used, meant.bandwidth / solution.decision.bandwidth, 1.0), 1.0, atol=0.25)


def test_matters_where_tokens_may_be() -> None:
    scenario = preset("paper", bandwidth="learned", model={"layers": 1}, traffic={"tokens": 2})
    assert 0.1 < imitation.collect(scenario, 0, 2).matters[:, :8].mean() < 0.6


def test_residual_logits_lead_from_what_is_known_to_what_is_true() -> None:
    scenario = preset("mobile", bandwidth="residual")
    simulator, teacher = Simulator(scenario, 16), imitation.Price()
    simulator.reset(0)
    teacher.reset(scenario, 16)
    for _ in range(2):  # in the first step the delay does not show yet
        solution = teacher.solve(simulator.true_observation())
        action, matters = imitation._target(solution, simulator.observation, scenario)
        known = allocate_for(solution.decision.selection, simulator.observation, scenario)
        simulator.step(solution.decision)
    used = solution.decision.bandwidth > 0
    assert (matters[:, 8:] == used).all()
    split = np.exp(action[:, 8:]) * known
    split *= scenario.radio.bandwidth_hz / split.sum(axis=1, keepdims=True)
    near = (np.abs(action[:, 8:]) < 1.0) | ~used  # what is out of an action's reach is clipped
    cells = near.all(axis=1)
    assert cells.sum() >= 8
    np.testing.assert_allclose(split[cells], solution.decision.bandwidth[cells], rtol=1e-6)
    assert np.abs(action[:, 8:]).max() > 0.1


def test_encoded_prices_mean_the_prices() -> None:
    price = np.array([[0.0, 0.045, 0.5, 7.0, 0.2, 0.3, 0.4, 0.1]])
    action = price_action(load_scenario("paper")).encode(price)
    assert action.dtype == np.float32
    np.testing.assert_allclose(0.5 * ((action + 1) / 2) ** 2, np.minimum(price, 0.5), atol=1e-7)


def test_sees_training_cells_alone(tiny: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    banks = {split: bank.gate_bank(tiny.gating, tiny.model, 8, split) for split in ("train", "validation", "test")}
    samples = imitation.collect(tiny, 3, 2)
    monkeypatch.setattr(
        "wdmoe_env.simulator.simulator.gate_bank",
        lambda *settings: banks["train"] if settings[-1] == "train" else 1 / 0,
    )
    again = imitation.collect(tiny, 3, 2)
    assert torch.equal(samples.observations, again.observations)
    assert torch.equal(samples.actions, again.actions)
    assert not torch.equal(samples.actions, imitation.collect(tiny, 4, 2).actions)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_resumed_equals_uninterrupted(
    make_plan: Make, tmp_path: Path, console: Console, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, (whole, killed) = make_plan(algorithm, warm_start="price"), (tmp_path / "whole", tmp_path / "killed")
    plan = replace(plan, timesteps=plan.timesteps // 4)
    assert one_run.start(plan, whole, console) == 0
    assert "warm start: error of the actions" in text(console)
    assert len(table(whole / "evaluations.csv")) == 2
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_chunk", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            one_run.start(plan, killed, console)
    assert [path.name for path in RunDir(killed).checkpoints()] == [f"{0:012d}"]
    monkeypatch.setattr(imitation, "collect", lambda *_: 1 / 0)
    torch.manual_seed(99)
    assert one_run.resume(killed, console) == 0
    assert_same_run(whole, killed)


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["collect", "imitate"])
def test_stopped_meanwhile(
    make_plan: Make, tmp_path: Path, console: Console, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, (whole, halves) = make_plan(warm_start="price", timesteps=32), (tmp_path / "whole", tmp_path / "halves")
    one_run.start(plan, whole, console)
    real = getattr(imitation, phase)

    def interrupted(*arguments: Any) -> Any:
        *others, show = arguments

        def shown(done: int) -> None:
            if done == 3:
                signal.raise_signal(signal.SIGINT)
            show(done)

        return real(*others, shown)

    with monkeypatch.context() as patch:
        patch.setattr(imitation, phase, interrupted)
        assert one_run.start(plan, halves, console) == 130
    assert "stopped by SIGINT after 0 steps; checkpoint saved" in text(console)
    assert one_run.resume(halves, console) == 0
    assert_same_run(whole, halves)


@pytest.mark.slow
def test_changes_nothing_else(make_plan: Make, tmp_path: Path, console: Console) -> None:
    one_run.start(make_plan(), tmp_path / "cold", console)
    assert "warm start" not in text(console)
    with pytest.raises(ValueError, match="warm-start is 'fire', expected one of none, price"):
        replace(make_plan(), warm_start="fire")


@pytest.mark.slow
def test_the_climb_is_told(make_plan: Make, tmp_path: Path, console: Console) -> None:
    plan = replace(make_plan(), warm_start="price", scenario=preset("mobile", bandwidth="residual"), timesteps=64)
    assert one_run.start(plan, tmp_path / "run", console) == 0
    shown = text(console)
    assert "warm start: splitting the band" in shown
    found = imitation.Imitation(0.5, 0.25, split_ascent.Ascent(1.0, 1.5)).figures()
    assert found == {"error_before": 0.5, "error": 0.25, "split_before": 1.0, "split_after": 1.5}
    assert imitation.Imitation(0.5, 0.25).figures() == {"error_before": 0.5, "error": 0.25}


@pytest.mark.parametrize("bandwidth", ["optimal", "learned"])
def test_expert_prices_that_are_imitated_open_what_was_opened(bandwidth: Any) -> None:
    scenario = toy(3, 9, 3, tokens=12, prices="expert", bandwidth=bandwidth, gating={"family": "olmoe"})
    teacher, observation = imitation.Price(), Simulator(scenario, 16).reset(0)
    teacher.reset(scenario, 16)
    solution = teacher.solve(observation)
    action, matters = imitation._target(solution, observation, scenario)
    assert action.shape == matters.shape == (16, 9 if bandwidth == "optimal" else 12)
    wanted, meant = solution.decision, action_codec("expert-price", scenario).decode(action, observation)
    closed = ~wanted.selection.any(axis=1)
    assert closed.any()
    assert (action[:, :9][closed] == 1.0).all()
    of_devices: Any = action_codec("price", scenario)
    prices = of_devices.encode(imitation.MARKUP * solution.price)
    device_action = np.concatenate([prices, action[:, 9:]], axis=1)
    by_devices = of_devices.decode(device_action, observation)

    def reward(decision: Any) -> Any:
        simulator = Simulator(scenario, 16)
        simulator.reset(0)
        return simulator.step(decision).reward.mean()

    # No prices say all that the search over whole experts finds.
    assert reward(by_devices) < reward(meant) <= reward(wanted)
    assert reward(meant) > 0.9 * reward(wanted)


def test_warm_start_of_expert_prices(tmp_path: Path, console: Console, make_plan: Make) -> None:
    scenario = toy(3, 9, 3, prices="expert", bandwidth="residual")
    plan = replace(make_plan(), warm_start="price", scenario=scenario, timesteps=64)
    assert one_run.start(plan, tmp_path / "run", console) == 0
    assert "warm start: splitting the band" in text(console)
    assert "finished after 64 steps" in text(console)
