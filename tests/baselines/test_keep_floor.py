"""Rules that keep the mass floor: where they would break it, and not otherwise."""

import numpy as np
import pytest

import baselines
from wdmoe_env import Simulator, load_scenario

RULES = {"wdmoe": {"theta_start": 0.5}, "dynamic-skipping": {"beta": 0.6}, "wdmoe-testbed": {"fraction": 0.9}}
"""Options with which each drops much."""
ENVS, STEPS = 24, 2


def run(name, scenario, **options):
    """Selections and metrics of the first steps."""
    simulator, policy = Simulator(scenario, ENVS), baselines.make(name, **options)
    policy.reset(scenario, ENVS)
    observation = simulator.reset(0)
    found = []
    for _ in range(STEPS):
        decision = policy.decide(observation)
        outcome = simulator.step(decision)
        observation = outcome.observation
        found.append((decision, outcome.metrics))
    return found


@pytest.mark.parametrize("name", RULES)
def test_the_floor_is_kept_and_nothing_else_changes(name):
    scenario = load_scenario("paper", gating={"bank_passes": 4})
    broken = run(name, scenario, keep_floor=False, **RULES[name])
    floor = float(np.median(broken[-1][1]["retained_mass"]))
    kept = run(name, load_scenario(scenario, reward={"mass_floor": floor}), **RULES[name])
    mass = np.array([metrics["retained_mass"] for _, metrics in kept])
    alone = np.array([metrics["retained_mass"] for _, metrics in broken])
    assert (mass >= floor - 1e-6).all()
    assert (alone < floor - 1e-6).any()
    assert (alone >= floor + 2e-6).any()
    assert mass[-1].max() < 1.0
    for (one, _), (other, _), own in zip(kept, broken, alone, strict=True):
        same = own >= floor + 2e-6
        np.testing.assert_array_equal(one.selection[same], other.selection[same])
        np.testing.assert_array_equal(one.bandwidth[same], other.bandwidth[same])
        assert (one.selection | ~other.selection).all()  # tokens get back what was taken


def test_the_reconstruction_keeps_no_floor():
    scenario = load_scenario("paper", gating={"bank_passes": 4})
    one, other = run("wdmoe-reconstructed", scenario), run("wdmoe", scenario, theta_start=0.5, keep_floor=False)
    for (decision, metrics), (expected, _) in zip(one, other, strict=True):
        np.testing.assert_array_equal(decision.selection, expected.selection)
        assert metrics["retained_mass"].min() < scenario.reward.mass_floor
