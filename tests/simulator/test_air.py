"""What testbeds taught the model: a time for each message, a token once for a device, a band that is not split."""

from __future__ import annotations

import numpy as np
import pytest

import baselines
from baselines import bound
from evaluation.episodes.plan import Plan
from wdmoe_env import Decision, Scenario, Simulator, allocation, load_scenario
from wdmoe_env.system.latency import Radio, air_time

RADIO = Radio(1e8, 1.0, 0.2, 4e-21, 65536.0, 10.0, shared=True)


def layer(scenario: Scenario, seed: int = 0) -> tuple[Simulator, Decision]:
    simulator = Simulator(scenario, 3)
    observation = simulator.reset(seed)
    policy = baselines.make("top-k+bandwidth")
    policy.reset(scenario, 3)
    return simulator, policy.decide(observation)


def test_a_message_takes_its_time_on_every_device_that_is_used() -> None:
    plain, decision = layer(load_scenario("paper"))
    slow, _ = layer(load_scenario("paper", radio={"message_s": 0.002}))
    for name in ("latency", "latency_top_k"):
        assert np.allclose(slow.preview(decision)[name], plain.preview(decision)[name] + 0.002, rtol=1e-12)
    outcome = slow.step(decision)
    used = decision.selection.any(axis=1)
    assert ((outcome.observation.last_device_time > 0.0) == used).all()


def test_a_token_goes_once_where_that_is_asked_for() -> None:
    scenario = load_scenario("many-experts")
    once = load_scenario("many-experts", radio={"token_once": True})
    (plain, decision), (saving, _) = layer(scenario), layer(once)
    before, after = plain.preview(decision), saving.preview(decision)
    assert (after["latency"] < before["latency"]).all()
    # By hand: the tokens of a device are those that use any expert of it; computing stays.
    hosts, device = scenario.hosts, int(after["bottleneck"][0])
    sent = decision.selection[0][:, hosts == device].any(axis=1).sum()
    pairs = decision.selection[0][:, hosts == device].sum()
    assert sent < pairs
    outcome, other = saving.step(decision), plain.step(decision)
    counts = decision.selection.sum(axis=1).astype(np.float64)
    busy = layer(scenario)[0].compute_time(counts)[0, device]
    times = [outcome.observation.last_device_time[0, device], other.observation.last_device_time[0, device]]
    assert (times[0] - busy) / (times[1] - busy) == pytest.approx(sent / pairs)


def test_one_expert_a_device_is_as_it_was() -> None:
    (plain, decision), (once, _) = (
        layer(load_scenario("paper")),
        layer(load_scenario("paper", radio={"token_once": True})),
    )
    for name, values in plain.preview(decision).items():
        assert (once.preview(decision)[name] == values).all()


def test_turns_on_a_shared_medium() -> None:
    cn0 = np.full((2, 1, 3), 1e9)
    tokens, any_split = np.array([[1.0, 2.0, 4.0]]), np.array([[1.0, 5.0, 7.0]])
    found = air_time(tokens, any_split, cn0, RADIO)
    alone = air_time(np.array([[1.0, 0.0, 0.0]]), any_split, cn0, RADIO)[0, 0]
    # Until the first is done all three have had a turn each time; then two; then one.
    assert np.allclose(found / alone, [[3.0, 5.0, 7.0]])
    assert np.allclose(air_time(tokens, 2.0 * any_split, cn0, RADIO), found)


def test_a_shared_medium_ignores_how_the_band_is_split() -> None:
    scenario = load_scenario("paper", radio={"medium": "shared"})
    simulator, decision = layer(scenario)
    uniform = Decision(decision.selection, allocation.uniform(scenario, 3))
    for name, values in simulator.preview(decision).items():
        assert (simulator.preview(uniform)[name] == values).all()


@pytest.mark.parametrize(("preset", "radio"), [("paper", {"medium": "shared"}), ("many-experts", {"token_once": True})])
def test_nothing_is_proved_where_the_proof_does_not_hold(preset: str, radio: dict[str, object]) -> None:
    scenario = load_scenario(preset, radio=radio)
    simulator, _ = layer(scenario)
    cells = simulator.true_observation()
    for prove in (bound.reward_bound, bound.wlr_bound):
        with pytest.raises(ValueError, match="no bound is known where"):
            prove(cells, scenario)
    with pytest.raises(ValueError, match="no bound is known where"):
        bound.latency_bound(cells, scenario, 0.95)
    with pytest.raises(ValueError, match="no bound is known where"):
        bound.frontier(cells, scenario, [0.9, 0.95])
    assert Plan(2).num_sampled(scenario) == 0
    assert Plan(2).num_sampled(load_scenario(preset)) > 0


def test_the_bound_holds_with_messages() -> None:
    scenario = load_scenario("paper", radio={"message_s": 0.001})
    simulator, _ = layer(scenario)
    policy = baselines.make("price")
    policy.reset(scenario, 3)
    most = bound.reward_bound(simulator.true_observation(), scenario, reference=simulator.reference())
    assert (simulator.step(policy.decide(simulator.observation)).metrics["reward"] <= most).all()
