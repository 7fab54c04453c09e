"""Policies that learn: PPO and SAC on the simulator, their networks, training, checkpoints."""

from agents.policy import TrainedPolicy, load
from agents.shipped import pretrained
from agents.storage import StorageError

__all__ = ["StorageError", "TrainedPolicy", "load", "pretrained"]
