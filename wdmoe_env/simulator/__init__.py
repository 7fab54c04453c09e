"""The one simulator, over the state of N cells."""

from wdmoe_env.simulator.simulator import Simulator

__all__ = ["Simulator"]
