"""Pictures of one step: `Scene` is what they show, `Renderer` draws them, `save_gif` keeps an episode.

Importing this loads no matplotlib; drawing does (extra `render`).
"""

from wdmoe_env.render.gif import save_gif
from wdmoe_env.render.renderer import Renderer
from wdmoe_env.render.scene import Scene, Step

__all__ = ["Renderer", "Scene", "Step", "save_gif"]
