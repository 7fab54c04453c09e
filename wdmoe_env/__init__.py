"""WDMoE Gym: which experts of a mixture-of-experts model run on which wireless devices, and how the band is split."""

import gymnasium as _gym

from wdmoe_env import system
from wdmoe_env.interface import Decision, Observation, Outcome
from wdmoe_env.policy import Policy
from wdmoe_env.scenario import Scenario, load_scenario, preset_names
from wdmoe_env.simulator import Simulator
from wdmoe_env.version import __version__

__all__ = [
    "Decision",
    "Observation",
    "Outcome",
    "Policy",
    "Scenario",
    "Simulator",
    "__version__",
    "load_scenario",
    "preset_names",
    "system",
]

_gym.register(
    id="WDMoE-v0",
    entry_point="wdmoe_env.envs.env:WDMoEEnv",
    vector_entry_point="wdmoe_env.envs.vector_env:WDMoEVectorEnv",
)
