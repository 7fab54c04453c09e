"""Gate weights: where the environment gets the router's softmax from."""

from wdmoe_env.gating.synthetic import FAMILIES, GatingFamily, draw_passes

__all__ = ["FAMILIES", "GatingFamily", "draw_passes"]
