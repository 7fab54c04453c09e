"""A view as a picture, as a film of its episode, and as numbers."""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from explorer.web.drawing import Drawing
from wdmoe_env.render import Renderer, Scene, save_gif

MOST_FRAMES: Final = 64
"""Of a film: it begins so many steps before the one that is looked at, or at the start."""
FPS: Final = 4.0


def png(drawing: Drawing) -> bytes:
    """The layer of each contender, side by side."""
    from PIL import Image

    picture = io.BytesIO()
    Image.fromarray(_frame(drawing, drawing.view.step, _renderers(drawing))).save(picture, format="PNG")
    return picture.getvalue()


def gif(drawing: Drawing) -> bytes:
    """All layers from the start, or the last `MOST_FRAMES`, up to the one that is looked at."""
    renderers, step = _renderers(drawing), drawing.view.step
    frames = [_frame(drawing, now, renderers) for now in range(max(0, step + 1 - MOST_FRAMES), step + 1)]
    with tempfile.TemporaryDirectory() as folder:
        return save_gif(frames, Path(folder) / "episode.gif", FPS).read_bytes()


def _renderers(drawing: Drawing) -> list[Renderer]:
    return [Renderer() for _ in drawing.contenders]


def _frame(drawing: Drawing, step: int, renderers: list[Renderer]) -> NDArray[np.uint8]:
    pictures = []
    for one, renderer in zip(drawing.contenders, renderers, strict=True):
        picture = renderer.draw(_named(one.episode.at(step).scene, one.label))
        assert picture is not None  # only a window returns None
        pictures.append(picture)
    return np.concatenate(pictures, axis=1)


def _named(scene: Scene, label: str) -> Scene:
    """The scene, with who decided beside the name of the scenario."""
    return replace(scene, scenario=scene.scenario.model_copy(update={"name": f"{scene.scenario.name} · {label}"}))
