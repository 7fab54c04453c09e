"""Gate weights: where the environment gets the router's softmax from."""

from wdmoe_env.gating.own import register
from wdmoe_env.gating.synthetic import FAMILIES, GatingFamily, draw_passes
from wdmoe_env.settings.parts import FamilySettings

__all__ = ["FAMILIES", "FamilySettings", "GatingFamily", "draw_passes", "register"]
