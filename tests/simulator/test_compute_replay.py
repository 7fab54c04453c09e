"""Measured devices: replayed times are those of a step, the same whatever is decided, and bounds stay true."""

import numpy as np
import pytest
from scipy import stats
from support.replayed import CALM, replaying, runs, table
from support.toy import preset, random_decision, same_rng

import baselines
from baselines import bound
from wdmoe_env import Decision, Simulator, allocation
from wdmoe_env.hardware.latency.table import write_measurements
from wdmoe_env.simulator.compute_replay import ComputeReplay
from wdmoe_env.system.latency import carrier_to_noise_density, communication_time

WAYS = ("distribution", "sequence", "mixed")
HOLDS = 1.0 + 1e-9


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return table(tmp_path_factory.mktemp("boards"))


@pytest.fixture(scope="module", params=[*WAYS, "jetson"])
def scenario(request, path):
    """Each way to replay, several experts a device; and the preset."""
    return preset("jetson") if request.param == "jetson" else replaying(path, request.param)


def evenly(scenario, num_envs):
    """Give every expert as many tokens as every other, and every device as much of the band."""
    tokens, experts = scenario.traffic.tokens, scenario.model.experts
    chosen = np.equal.outer(np.arange(tokens) % experts, np.arange(experts))
    return Decision(np.repeat(chosen[None], num_envs, axis=0), allocation.uniform(scenario, num_envs))


def computing(simulator, decision):
    """Take a step, and return the (N, U) seconds of its devices less those of sending, by the true channel."""
    radio = simulator.scenario.radio_link
    cn0 = carrier_to_noise_density(simulator.cell.gain[:, 0], simulator.cell.gain[:, 1], radio)
    tokens = simulator.scenario.compute_model.per_device(decision.selection.sum(axis=1).astype(float))
    sending = tokens * communication_time(decision.bandwidth, cn0, radio)
    return simulator.step(decision).observation.last_device_time - sending


@pytest.mark.slow
def test_policies_on_one_seed_meet_the_same_draws(scenario):
    one, two = Simulator(scenario, 3), Simulator(scenario, 3)
    rng = np.random.default_rng(0)
    for simulator in (one, two):
        simulator.reset(7)
    for _ in range(scenario.steps_per_episode):
        np.testing.assert_array_equal(one.expert_table(), two.expert_table())
        one.step(random_decision(scenario, 3, rng))
        two.step(evenly(scenario, 3))
    assert same_rng(one, two)
    for simulator in (one, two):
        simulator.reset()
    np.testing.assert_array_equal(one.expert_table(), two.expert_table())


def test_seeds_layers_and_environments_differ(scenario):
    simulator = Simulator(scenario, 2)
    tables = []
    for seed in (0, 1):
        simulator.reset(seed)
        tables.append(simulator.expert_table()[-1])
        simulator.step(evenly(scenario, 2))
        tables.append(simulator.expert_table()[-1])
    states = np.reshape(tables, (8, -1))
    assert len(np.unique(states, axis=0)) == 8


def test_a_restored_simulator_goes_on_exactly(scenario):
    simulator, other, rng = Simulator(scenario, 2), Simulator(scenario, 2), np.random.default_rng(0)
    simulator.reset(3)
    simulator.step(random_decision(scenario, 2, rng))
    other.restore(simulator.state())
    for _ in range(3):
        decision = random_decision(scenario, 2, rng)
        np.testing.assert_array_equal(simulator.step(decision).reward, other.step(decision).reward)
        simulator.step(evenly(scenario, 2))
        other.step(evenly(scenario, 2))
    np.testing.assert_array_equal(simulator.expert_table(), other.expert_table())


def test_a_device_takes_the_times_of_its_experts_one_after_the_other(scenario):
    simulator, rng = Simulator(scenario, 4), np.random.default_rng(0)
    simulator.reset(0)
    for _ in range(4):
        decision, load = random_decision(scenario, 4, rng), simulator.cell.load.copy()
        tokens, seconds = decision.selection.sum(axis=1), simulator.expert_table()
        taken = np.take_along_axis(seconds, tokens[None], axis=0)[0]
        expected = np.zeros_like(load)
        for expert, device in enumerate(scenario.hosts):
            expected[:, device] += taken[:, expert] / (1.0 - load[:, device])
        found = computing(simulator, decision)
        np.testing.assert_allclose(found, expected, atol=1e-9)
        assert (seconds[0] == 0.0).all()


def test_formulas_stay_exact_among_measured_devices(path):
    scenario = replaying(path, "mixed")
    simulator = Simulator(scenario, 2)
    simulator.reset(0)
    plain = 2
    token_s = scenario.model.expert_flops / 1e12
    for _ in range(2):
        seconds = simulator.expert_table()[:, :, plain]
        np.testing.assert_allclose(seconds, np.arange(7.0)[:, None] * np.full(2, token_s), rtol=1e-12)
        simulator.step(evenly(scenario, 2))


@pytest.mark.parametrize("device", [0, 2, 7])
def test_times_of_a_shipped_board_follow_its_distribution(device):
    scenario = preset("jetson", load={**CALM, "thermal_slowdown": 0.0})
    simulator, group = Simulator(scenario, 32), (0, 0, 1, 1, 2, 2, 2, 2)[device]
    simulator.reset(0)
    found = np.concatenate([computing(simulator, evenly(scenario, 32))[:, device] for _ in range(40)])
    kept = scenario.recordings[group].table[0, scenario.traffic.tokens // scenario.model.experts]
    assert stats.ks_2samp(found, np.repeat(kept, 4)).pvalue > 0.01
    assert found.min() > kept[0] * (1.0 - 1e-6)


def test_times_of_a_recorded_board_follow_its_runs(path):
    scenario = replaying(path, load=CALM, host=[0, 1, 2, 3, 3, 3])
    simulator = Simulator(scenario, 32)
    simulator.reset(0)
    found = np.concatenate([computing(simulator, evenly(scenario, 32))[:, 0] for _ in range(40)])
    assert stats.ks_2samp(found, [row.latency_s for row in runs() if row.tokens == 1]).pvalue > 0.01


def test_a_sequence_is_played_as_it_was_recorded(tmp_path):
    kept = runs(count=7, tokens=(2,))
    write_measurements(tmp_path / "one.csv", kept)
    recorded = {"kind": "measured", "file": str(tmp_path / "one.csv"), "replay": "sequence"}
    one = {"name": "slow", "count": 3, "compute": recorded}
    scenario = replaying(tmp_path / "one.csv", devices=[one], model={"experts": 3}, load=CALM, traffic={"tokens": 6})
    scenario = preset_of(scenario, passes=9)
    simulator = Simulator(scenario, 5)
    simulator.reset(0)
    found = np.stack([computing(simulator, evenly(scenario, 5)) for _ in range(18)])
    latencies = np.array([float(f"{row.latency_s:.5e}") for row in kept])
    begin = np.abs(found[0][:, :, None] - latencies).argmin(axis=-1)
    assert len(np.unique(begin)) > 3
    for step, seconds in enumerate(found):
        np.testing.assert_allclose(seconds, latencies[(begin + step) % 7], atol=1e-15, rtol=1e-9)


def preset_of(scenario, passes):
    return scenario.model_copy(update={"traffic": scenario.traffic.model_copy(update={"passes_per_episode": passes})})


def test_policies_know_the_median_and_only_oracles_the_draw(scenario):
    simulator = Simulator(scenario, 64)
    observation = simulator.reset(0)
    assert observation.compute is None
    true, known = simulator.true_observation().compute, scenario.compute_model
    share = scenario.traffic.tokens * scenario.model.top_k / scenario.model.experts
    middle = np.median((true.fixed_s + share * true.token_s)[:, -1])
    assert middle == pytest.approx(known.fixed_s[-1] + share * known.token_s[-1], rel=0.25)
    assert ComputeReplay(preset("paper"), 1).measured is False


def test_the_lower_model_is_never_above_what_happens(scenario):
    simulator = Simulator(scenario, 8)
    simulator.reset(0)
    for _ in range(4):
        seconds, model = simulator.expert_table()[1:], simulator.true_observation().compute
        tokens = np.arange(1.0, len(seconds) + 1.0)[:, None, None]
        lower = (model.fixed_s + tokens * model.token_s)[:, :, scenario.hosts]
        assert (lower <= seconds * HOLDS).all()
        assert (model.fixed_s >= 0.0).all()
        assert (model.token_s >= 0.0).all()
        simulator.step(evenly(scenario, 8))


@pytest.mark.slow
def test_no_decision_beats_the_bounds(scenario):
    count, rng = 6, np.random.default_rng(0)
    simulator, policy = Simulator(scenario, count, "test"), baselines.make("price")
    policy.reset(scenario, count)
    simulator.reset(0)
    for _ in range(3):
        seen, state, reference = simulator.true_observation(), simulator.state(), simulator.reference()
        most = bound.reward_bound(seen, scenario, reference=reference)
        best = policy.decide(seen)
        for decision in [best, policy.decide(simulator.observation), *guesses(scenario, best, rng)]:
            simulator.restore(state)
            outcome = simulator.step(decision)
            kept = np.minimum(outcome.metrics["retained_mass"] - 1e-6, 1.0)
            assert (outcome.reward <= most * HOLDS).all()
            least = bound.latency_bound(seen, scenario, kept)
            assert (least <= outcome.metrics["latency"] * HOLDS).all()
            if decision is best and scenario.name == "jetson":  # one expert a device, and many tokens
                assert (outcome.metrics["latency"] < 1.03 * least).all()


def guesses(scenario, best, rng):
    """Random decisions, and a good one with other splits."""
    band, count = scenario.radio.bandwidth_hz, len(best.bandwidth)
    for _ in range(6):
        yield random_decision(scenario, count, rng)
        share = best.bandwidth * np.exp(0.05 * rng.standard_normal(best.bandwidth.shape))
        yield Decision(best.selection, share / share.sum(axis=1, keepdims=True) * band)


def test_the_reference_is_what_plain_routing_gets(scenario):
    simulator, policy = Simulator(scenario, 4), baselines.make("top-k")
    policy.reset(scenario, 4)
    observation = simulator.reset(0)
    reference = simulator.reference()
    outcome = simulator.step(policy.decide(observation))
    np.testing.assert_allclose(outcome.metrics["wlr"], reference, rtol=1e-6)
    np.testing.assert_allclose(outcome.reward, 1.0, atol=1e-6)


@pytest.mark.slow
def test_a_bound_without_the_true_reference_is_refused(scenario):
    simulator = Simulator(scenario)
    simulator.reset(0)
    with pytest.raises(ValueError, match=r"devices are measured.*Simulator\.reference"):
        bound.reward_bound(simulator.true_observation(), scenario)
