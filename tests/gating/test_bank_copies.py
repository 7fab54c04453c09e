"""Copies and pickles share a bank's arrays: within a process it is drawn once, in another one anew."""

import copy
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import gymnasium as gym
import numpy as np
import pytest
from support.toy import SMALL

from wdmoe_env import Simulator, load_scenario
from wdmoe_env.gating.bank import gate_bank
from wdmoe_env.settings.paths import SHIPPED

LIMIT = 1_000_000


def make(**options: Any) -> Any:
    return gym.make("WDMoE-mobile-v0", overrides=SMALL["mobile"], **options).unwrapped


def rewards(env: Any, steps: int = 4) -> list[float]:
    return [env.step(np.full(8, 0.2, dtype=np.float32))[1] for _ in range(steps)]


COPIES = {
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: cloudpickle.loads(cloudpickle.dumps(env)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_of_an_environment_goes_on_as_it_does_and_shares_the_bank(copied):
    env = make()
    env.reset(seed=1)
    rewards(env)
    other = copied(env)
    assert other.simulator._bank is env.simulator._bank
    assert rewards(other) == rewards(env)
    np.testing.assert_array_equal(other.reset()[0], env.reset()[0])


@pytest.mark.parametrize("id", ["WDMoE-paper-v0", "WDMoE-cell-64-v0", "WDMoE-tiny-moe-v0"])
def test_pickles_are_small(id):
    env = gym.make(id)
    env.reset(seed=0)
    assert len(pickle.dumps(env)) < LIMIT
    envs = gym.make_vec(id, num_envs=2)
    envs.reset(seed=0)
    assert len(pickle.dumps(envs)) < LIMIT


def test_an_environment_is_pickled_before_reset_too():
    assert rewards_after_reset(pickle.loads(pickle.dumps(make()))) == rewards_after_reset(make())


def rewards_after_reset(env: Any) -> list[float]:
    env.reset(seed=3)
    return rewards(env)


@pytest.mark.slow
def test_it_is_copied_after_a_picture_too():
    env = make(render_mode="rgb_array")
    env.reset(seed=0)
    rewards(env, 1)
    picture = env.render()
    for other in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        np.testing.assert_array_equal(other.render(), picture)


def test_in_another_process_the_bank_is_drawn_anew_the_same(tmp_path):
    env = make()
    env.reset(seed=1)
    rewards(env)
    path = tmp_path / "env.pickle"
    path.write_bytes(pickle.dumps(env))
    program = (
        "import pickle, sys, numpy as np\n"
        "env = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print([env.step(np.full(8, 0.2, dtype=np.float32))[1] for _ in range(4)])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(rewards(env))


def test_a_trace_that_holds_something_else_is_refused(tmp_path):
    trace = Path(shutil.copy(SHIPPED / "tiny-moe.safetensors", tmp_path / "mine.safetensors"))
    scenario = load_scenario("tiny-moe", gating={"trace": str(trace), "bank_passes": 2})
    saved = pickle.dumps(Simulator(scenario))
    pickle.loads(saved)
    trace.write_bytes(trace.read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"mine\.safetensors holds something else than when this was pickled"):
        pickle.loads(saved)
    trace.unlink()
    with pytest.raises(ValueError, match=r"mine\.safetensors"):
        pickle.loads(saved)


def test_models_of_the_same_routing_share_a_bank():
    one = load_scenario("paper", **SMALL["paper"])
    other = load_scenario(one, model={"hidden_size": 1024})
    banks = [gate_bank(cell.gating, cell.model, cell.traffic.tokens, "train") for cell in (one, other)]
    assert banks[0] is banks[1]
