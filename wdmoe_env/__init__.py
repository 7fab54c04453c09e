"""WDMoE Gym: which experts of a mixture-of-experts model run on which wireless devices, and how the band is split."""

from wdmoe_env import source_tree as _source_tree
from wdmoe_env import system
from wdmoe_env.envs.ids import register_ids as _register_ids
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

_register_ids()
_source_tree.install()
