"""SKRL: PPO by its runner, on the native vector environment, 64 cells at once."""

import gymnasium as gym
import torch
from held_out import print_reward, steps
from skrl.envs.wrappers.torch import wrap_env
from skrl.utils.runner.torch import Runner

layers = {"network": [{"name": "net", "input": "OBSERVATIONS", "layers": [64, 64], "activations": "elu"}]}
policy = {"class": "GaussianMixin", **layers, "output": "ACTIONS"}
models = {"separate": True, "policy": policy, "value": {"class": "DeterministicMixin", **layers, "output": "ONE"}}
agent = {"class": "PPO", "discount_factor": 0.0, "rollouts": 32, "mini_batches": 4}
plan = {"agent": agent, "trainer": {"class": "SequentialTrainer", "headless": True, "timesteps": steps(50_000) // 64}}
plan |= {"seed": 0, "models": models, "memory": {"class": "RandomMemory", "memory_size": -1}}
runner = Runner(wrap_env(gym.make_vec("WDMoE-paper-v0", num_envs=64)), plan)
runner.run("train")
print_reward(lambda seen: runner.agent.policy.compute({"observations": torch.tensor(seen)}, "policy")[0].detach())
