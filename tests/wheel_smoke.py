"""What the bare wheel can do: run it where nothing is installed but the wheel and what it needs.

python tests/wheel_smoke.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig

import gymnasium as gym
import numpy as np

EXTRAS = "torch", "stable_baselines3", "matplotlib", "rich", "tyro", "wandb", "polars", "transformers"


def steps() -> None:
    """A step of one environment and of several, with each kind of action that needs no learning."""
    import wdmoe_env

    env = gym.make("WDMoE-v0", scenario="paper")
    env.reset(seed=0)
    _, reward, _, _, info = env.step(env.action_space.sample())
    assert np.isfinite(float(reward)), reward
    assert info["metrics/latency"] > 0.0
    cells = gym.make_vec("WDMoE-v0", num_envs=3, vectorization_mode="vector_entry_point", scenario="jetson")
    cells.reset(seed=0)
    assert np.isfinite(cells.step(cells.action_space.sample())[1]).all()
    for name in wdmoe_env.preset_names():
        wdmoe_env.load_scenario(name)


def render_names_the_extra() -> None:
    """Without matplotlib, rendering says which extra brings it."""
    message = "no error"
    try:
        env = gym.make("WDMoE-v0", scenario="paper", render_mode="rgb_array")
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.render()
    except gym.error.DependencyNotInstalled as error:
        message = str(error)
    assert "wdmoe-env[render]" in message, message


def command() -> None:
    """`wdmoe` is there, lists presets and versions, and says which extra a command needs."""
    wdmoe = shutil.which("wdmoe", path=sysconfig.get_path("scripts"))
    assert wdmoe is not None, "no command wdmoe beside this Python"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([wdmoe, *arguments], capture_output=True, text=True)

    assert "many-experts" in run("presets").stdout, run("presets")
    assert run("version").stdout.startswith("wdmoe-env "), run("version")
    lacking = run("train")
    assert lacking.returncode == 2, lacking
    assert "pip install 'wdmoe-env[train]'" in lacking.stderr, lacking


def main() -> None:
    steps()
    render_names_the_extra()
    command()
    loaded = [name for name in EXTRAS if name in sys.modules]
    assert not loaded, f"{', '.join(loaded)} loaded, expected none of the extras"
    print("the bare wheel works")


if __name__ == "__main__":
    main()
