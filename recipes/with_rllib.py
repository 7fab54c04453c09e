"""RLlib: PPO on the native vector environment, 8 cells at once."""

import torch
from held_out import print_reward, steps
from ray.rllib.algorithms.ppo import PPOConfig

config = PPOConfig().environment("WDMoE-paper-v0").training(gamma=0.0)
config.env_runners(num_env_runners=0, num_envs_per_env_runner=8, gym_env_vectorize_mode="vector_entry_point")
algorithm = config.build_algo()
while algorithm.train()["num_env_steps_sampled_lifetime"] < steps(50_000):
    pass
module = algorithm.get_module()
print_reward(lambda seen: module.forward_inference({"obs": torch.tensor(seen)})["action_dist_inputs"][:, :8].detach())
