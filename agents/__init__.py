"""Policies that learn: PPO and SAC on the simulator, their networks, training, checkpoints."""

from agents.policies.shipped import pretrained
from agents.policies.trained import TrainedPolicy, load
from agents.sb3.vec_env import WDMoEVecEnv
from wdmoe_env.files.safe import StorageError

__all__ = ["StorageError", "TrainedPolicy", "WDMoEVecEnv", "load", "pretrained"]
