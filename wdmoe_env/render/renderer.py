"""Renderer: the figure that the panels share, as an array or in a window; drawn once, then updated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import logger
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from wdmoe_env.render.scene import Scene

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

    from wdmoe_env.render.panels import Panels

SIZE_INCHES, DPI = (12.8, 8.0), 100
WINDOWLESS = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")
"""Matplotlib's backends that only write files."""


class Renderer:
    """Draws scenes of one scenario.

    Without a window it needs no display. With one, matplotlib's backend must be interactive; where it is not (no
    display, `MPLBACKEND=Agg`), a warning says so once and nothing is shown. A window that was closed stays closed.

    Args:
        window: show a live window; otherwise `draw` returns arrays.
        fps: pictures a second at most, in a window.

    Raises:
        DependencyNotInstalled: matplotlib is missing.
    """

    def __init__(self, window: bool = False, fps: float = 4.0) -> None:
        try:
            import matplotlib
            from matplotlib.figure import Figure

            from wdmoe_env.render.panels import Panels
        except ImportError as error:
            raise DependencyNotInstalled("rendering needs matplotlib: pip install wdmoe-env[render]") from error
        self._fps, self._window = fps, window
        self._new_panels = Panels
        self._settings = matplotlib.rc_context
        self._panels: Panels | None = None
        self._background: Any = None
        self._figure: Figure | None
        if window:
            self._figure = _open_window()
        else:
            from matplotlib.backends.backend_agg import FigureCanvasAgg

            self._figure = Figure(figsize=SIZE_INCHES, dpi=DPI)
            FigureCanvasAgg(self._figure)

    def draw(self, scene: Scene) -> NDArray[np.uint8] | None:
        """Draw a scene: return it as (H, W, 3), or show it in the window and return None."""
        if self._figure is None or (self._window and not _is_open(self._figure)):
            return None
        # A dollar sign in the name of a device is no formula.
        with self._settings({"text.parse_math": False}):
            if self._panels is None:
                self._panels = self._new_panels(self._figure, scene)
            self._panels.update(scene)
            canvas: Any = self._figure.canvas
            if not self._window:
                return self._array(canvas, self._panels.changing)
            canvas.draw()
        canvas.start_event_loop(1.0 / self._fps)
        return None

    def _array(self, canvas: Any, changing: list[Artist]) -> NDArray[np.uint8]:
        """Draw what changes upon what stays, which is drawn once."""
        if self._background is None:
            for artist in changing:
                artist.set_animated(True)  # the canvas leaves it out
            canvas.draw()
            self._background = canvas.copy_from_bbox(canvas.figure.bbox)
        canvas.restore_region(self._background)
        for artist in changing:
            artist.draw(canvas.get_renderer())
        # Channel by channel: numpy takes ten times as long to copy three of the four of each pixel.
        rgba = np.asarray(canvas.buffer_rgba())
        picture = np.empty((*rgba.shape[:2], 3), np.uint8)
        for channel in range(3):
            picture[..., channel] = rgba[..., channel]
        return picture

    def close(self) -> None:
        """Close the window and let go of the figure."""
        if self._window and self._figure is not None:
            import matplotlib.pyplot as plt

            plt.close(self._figure)
        self._figure = self._panels = self._background = None


def _open_window() -> Figure | None:
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=SIZE_INCHES, dpi=DPI)
    backend = plt.get_backend()
    if backend.lower() in WINDOWLESS:
        plt.close(figure)
        logger.warn(
            f"render_mode='human' shows nothing: matplotlib's backend {backend!r} has no window. Use a machine with "
            "a display, or render_mode='rgb_array' with wdmoe_env.render.save_gif"
        )
        return None
    figure.show()
    return figure


def _is_open(figure: Figure) -> bool:
    import matplotlib.pyplot as plt

    return bool(plt.fignum_exists(figure.number))
