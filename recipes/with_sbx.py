"""SBX, Stable-Baselines3 in JAX: PPO on the project's own VecEnv, 64 cells at once."""

from held_out import print_reward, steps
from sbx import PPO

from wdmoe_env import agents

cells = agents.WDMoEVecEnv("paper", num_envs=64, observation="device-flat")
model = PPO("MlpPolicy", cells, gamma=0.0, n_steps=32, batch_size=512, learning_rate=1e-3, seed=0)
model.learn(steps(50_000))
print_reward(lambda seen: model.predict(seen, deterministic=True)[0])
