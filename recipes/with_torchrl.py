"""TorchRL: its collector and PPO trainer, on the native vector environment, 64 cells at once."""

import gymnasium as gym
import torch
from held_out import print_reward, steps
from tensordict import TensorDict, nn
from torchrl import collectors, envs, modules, objectives
from torchrl.trainers.algorithms import PPOTrainer

env = envs.GymWrapper(gym.make_vec("WDMoE-paper-v0", num_envs=64, autoreset_mode="Disabled"))
net = torch.nn.Sequential(modules.MLP(312, 16, num_cells=[64, 64]), nn.NormalParamExtractor())
net, normal = nn.TensorDictModule(net, ["observation"], ["loc", "scale"]), modules.TanhNormal
actor = modules.ProbabilisticActor(net, ["loc", "scale"], distribution_class=normal, return_log_prob=True)
loss = objectives.ClipPPOLoss(actor, modules.ValueOperator(modules.MLP(312, 1, num_cells=[64, 64])))
plan = {"collector": collectors.Collector(env, actor, frames_per_batch=2048, total_frames=(total := steps(50_000)))}
plan |= {"gamma": 0.0, "lmbda": 0.0, "optimizer": torch.optim.Adam(loss.parameters(), 1e-3), "enable_logging": False}
PPOTrainer(**plan, loss_module=loss, total_frames=total, frame_skip=1, optim_steps_per_batch=1, num_epochs=40).train()
print_reward(lambda seen: actor.get_dist(TensorDict(observation=torch.tensor(seen))).deterministic_sample.detach())
