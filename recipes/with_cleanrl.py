"""CleanRL: its `ppo_continuous_action.py` as it is, from this folder or from where `$CLEANRL` says.

It is written for Gymnasium 0.29, whose `TransformObservation` took no space: here it gets that of the environment.
"""

import os
import runpy
import sys

import gymnasium as gym
import torch
from held_out import print_reward, steps

with_space = gym.wrappers.TransformObservation
gym.wrappers.TransformObservation = lambda env, func: with_space(env, func, env.observation_space)
file = os.environ.get("CLEANRL", "ppo_continuous_action.py")
sys.argv, total = [file, "--env-id=WDMoE-paper-v0", "--gamma=0", "--no-cuda"], steps(50_000)
sys.argv.append(f"--total-timesteps={total}")
run = runpy.run_path(file, run_name="__main__")
scale = run["envs"].get_attr("obs_rms")[0]
scaled = lambda seen: torch.tensor((seen - scale.mean) / (scale.var + 1e-8) ** 0.5, dtype=torch.float32).clip(-10, 10)  # noqa: E731
print_reward(lambda seen: run["agent"].actor_mean(scaled(seen)).detach())
