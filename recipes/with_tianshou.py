"""Tianshou: PPO by its high-level interface."""

from held_out import print_reward, steps
from tianshou.data import Batch
from tianshou.highlevel.config import OnPolicyTrainingConfig
from tianshou.highlevel.env import EnvFactoryRegistered, VectorEnvType
from tianshou.highlevel.experiment import ExperimentConfig, PPOExperimentBuilder
from tianshou.highlevel.params.algorithm_params import PPOParams

plan = OnPolicyTrainingConfig(max_epochs=1, epoch_num_steps=steps(50_000), num_training_envs=8)
plan.update_step_num_repetitions = 10
cells, run = EnvFactoryRegistered(task="WDMoE-paper-v0", venv_type=VectorEnvType.DUMMY), ExperimentConfig(watch=False)
builder = PPOExperimentBuilder(cells, run, plan).with_ppo_params(PPOParams(gamma=0.0, lr=3e-4))
builder = builder.with_actor_factory_default((64, 64)).with_critic_factory_default((64, 64))
policy = builder.build().run().world.algorithm.policy
print_reward(lambda seen: policy.map_action(policy(Batch(obs=seen, info=Batch())).dist.mean.detach().numpy()))
