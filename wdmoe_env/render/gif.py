"""Episodes as GIF, written with Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from wdmoe_env.files.atomic import write_bytes

NEARLY_WHITE = 246
MAX_FPS = 50.0
"""Viewers slow down anything faster."""


def save_gif(frames: Iterable[NDArray[np.uint8]], path: str | Path, fps: float = 4.0) -> Path:
    """Write frames, as `render_mode="rgb_array"` returns them, as an endlessly repeated GIF; return its path.

    Args:
        frames: (H, W, 3) uint8 arrays, all of one size.
        path: file to write, whole or not at all.
        fps: frames a second, more than 0 and at most 50: viewers slow down anything faster.

    Raises:
        ValueError: there is no frame, a frame is no picture or of another size, or `fps` is out of range.
        DependencyNotInstalled: Pillow is missing.
        OSError: the file cannot be written.
    """
    if not 0.0 < fps <= MAX_FPS:
        raise ValueError(f"fps is {fps}, expected more than 0 and at most {MAX_FPS:g}")
    pictures = list(frames)
    if not pictures:
        raise ValueError("frames is empty, expected at least one picture")
    for index, frame in enumerate(pictures):
        if not (isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.shape == (*frame.shape[:2], 3)):
            raise ValueError(f"frames[{index}] is {_described(frame)}, expected an (H, W, 3) uint8 array")
        if frame.shape != pictures[0].shape:
            raise ValueError(f"frames[{index}] has shape {frame.shape}, the first one {pictures[0].shape}")
    try:
        from PIL import Image
    except ImportError as error:
        raise DependencyNotInstalled("a GIF needs Pillow: pip install wdmoe-env[render]") from error
    # One palette for all: colours do not flicker, and what does not change between frames is not stored again.
    # Maximum coverage keeps colours that are only in a legend; white, which it tints, is put right. It asks only which
    # colours there are, so each is given once: pixels are many.
    sample = Image.fromarray(_colours(pictures[:: max(len(pictures) // 4, 1)])[None])
    colours = np.reshape(sample.quantize(256, method=Image.Quantize.MAXCOVERAGE).getpalette() or [], (-1, 3))
    colours[colours.min(axis=1) >= NEARLY_WHITE] = 255
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours.ravel().tolist())
    first, *rest = (Image.fromarray(p).quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures)
    film = io.BytesIO()
    first.save(film, format="GIF", save_all=True, append_images=rest, duration=round(1000.0 / fps), loop=0)
    write_bytes(Path(path), film.getvalue())
    return Path(path)


def _colours(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """(C, 3) colours of some pictures, each once."""
    seen = np.zeros(1 << 24, np.bool_)
    for picture in pictures:
        red, green, blue = np.moveaxis(picture.astype(np.uint32), 2, 0)
        seen[red << 16 | green << 8 | blue] = True
    return np.stack(np.unravel_index(np.flatnonzero(seen), (256, 256, 256)), axis=1).astype(np.uint8)


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"a {type(value).__name__}"
