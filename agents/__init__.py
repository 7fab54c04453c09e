"""Policies that learn: PPO and SAC on the simulator, their networks, training, checkpoints."""

from agents.files.storage import StorageError
from agents.policies.shipped import pretrained
from agents.policies.trained import TrainedPolicy, load

__all__ = ["StorageError", "TrainedPolicy", "load", "pretrained"]
