"""What a seed determines: everything for one policy, and what all policies meet."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.toy import preset, random_decision

from wdmoe_env import Decision, Simulator
from wdmoe_env.gating.bank import gate_bank
from wdmoe_env.system import selection

PROGRAM = """
import sys
sys.path.insert(0, {path!r})
from simulator.test_common_random_numbers import trajectory_hash
print([trajectory_hash(name, 5) for name in {names!r}])
"""


def trajectory_hash(name, seed, steps=36):
    """Hash of everything that an episode and the start of the next one return."""
    scenario = preset(name)
    simulator, rng, digest = Simulator(scenario, 3), np.random.default_rng(seed), hashlib.sha256()
    simulator.reset(seed)
    for _ in range(steps):
        outcome = simulator.step(random_decision(scenario, 3, rng))
        seen = outcome.observation
        for array in (seen.gain_dl, seen.gain_ul, seen.gate_weights, seen.load, *outcome.metrics.values()):
            digest.update(np.ascontiguousarray(array).tobytes())
        if outcome.truncated.all():
            simulator.reset()
    return digest.hexdigest()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trajectory_in_two_processes():
    names, path = ["paper", "mobile", "jetson"], str(Path(__file__).parents[1])
    program = [sys.executable, "-c", PROGRAM.format(path=path, names=names)]
    runs = [subprocess.Popen(program, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [run.communicate(timeout=60)[0].strip() for run in runs]
    assert outputs == [str([trajectory_hash(name, 5) for name in names])] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "jetson", "mobile"])
def test_different_seeds_differ(name):
    assert len({trajectory_hash(name, seed) for seed in range(4)}) == 4


def run(name, policy, steps):
    """Return what a policy met: gate weights, true gains, elapsed times and the noise generator's state."""
    simulator = Simulator(preset(name), 2)
    simulator.reset(11)
    states = []
    for _ in range(steps):
        states.append((simulator.observation.gate_weights.copy(), simulator.cell.gain.copy()))
        simulator.step(policy(simulator))
    return states, simulator.state().rng.bit_generator.state


def plain(simulator):
    scenario = simulator.scenario
    band = scenario.radio.bandwidth_hz / scenario.num_devices
    chosen = selection.top_k(simulator.observation.gate_weights, scenario.model.top_k)
    return Decision(chosen, np.full((simulator.num_envs, scenario.num_devices), band))


def erratic(simulator):
    return random_decision(simulator.scenario, simulator.num_envs, np.random.default_rng(simulator.steps))


@pytest.mark.parametrize("name", ["paper", "jetson"])
def test_policies_on_one_seed_meet_the_same_gate_weights_and_block_fading(name):
    (one, rng_one), (two, rng_two) = (run(name, policy, 40) for policy in (plain, erratic))
    assert rng_one == rng_two
    for (weights, gain), (other_weights, other_gain) in zip(one, two, strict=True):
        np.testing.assert_array_equal(weights, other_weights)
        np.testing.assert_array_equal(gain, other_gain)


def test_policies_in_a_moving_cell_meet_the_same_noise_and_gate_weights():
    (one, rng_one), (two, rng_two) = (run("mobile", policy, 40) for policy in (plain, erratic))
    assert rng_one == rng_two
    np.testing.assert_array_equal(one[0][1], two[0][1])
    # Time passes differently for them, so their channels age differently.
    assert not np.array_equal(one[-1][1], two[-1][1])
    for (weights, _), (other_weights, _) in zip(one, two, strict=True):
        np.testing.assert_array_equal(weights, other_weights)


@pytest.mark.parametrize(("kind", "draws"), [("none", False), ("rayleigh", True)])
def test_every_step_draws_equally_much_whatever_is_decided(kind, draws):
    """The generator is equally far after each step; where nothing is random it does not move, and no gain changes."""
    policies = plain, erratic
    cells = [Simulator(preset("paper", channel={"fading": {"kind": kind}}), 2) for _ in policies]
    for cell in cells:
        cell.reset(0)
    gain, states = cells[0].cell.gain.copy(), [cells[0].state().rng.bit_generator.state]
    for _ in range(4):
        for cell, policy in zip(cells, policies, strict=True):
            cell.step(policy(cell))
        one, other = (cell.state().rng.bit_generator.state for cell in cells)
        assert one == other
        assert (one not in states) == draws
        states.append(one)
    assert np.array_equal(gain, cells[0].cell.gain) != draws


def test_training_and_held_out_banks_share_no_pass():
    scenario = preset("paper")
    banks = [
        gate_bank(scenario.gating, scenario.model, scenario.traffic.tokens, split).weights
        for split in ("train", "validation", "test")
    ]
    for index, bank in enumerate(banks):
        for other in banks[index + 1 :]:
            assert not (bank == other).all(axis=(1, 2)).any()
