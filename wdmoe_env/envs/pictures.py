"""Pictures: what an environment of one cell or of many draws, taken before and after each step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.interface import Decision, Outcome
from wdmoe_env.render import Renderer, Scene
from wdmoe_env.simulator.simulator import Simulator

FPS = 4


class Pictures:
    """The last step of each cell of a simulator, drawn when asked for.

    Args:
        simulator: whose cells.
        mode: None: nothing is kept or drawn; `rgb_array`: arrays; `human`: a window.
        modes: those that there are.

    Raises:
        ValueError: `mode` is none of them.
    """

    def __init__(self, simulator: Simulator, mode: str | None, modes: tuple[str, ...]) -> None:
        if mode is not None and mode not in modes:
            raise ValueError(f"render_mode is {mode!r}, expected None{''.join(f' or {one!r}' for one in modes)}")
        self._simulator, self._mode = simulator, mode
        self._before: list[Scene] = []
        self._after: list[Scene] = []
        self._renderer: Renderer | None = None

    def forget(self) -> None:
        """New episodes begin."""
        self._after = []

    def before(self) -> None:
        """Look at the cells before a step."""
        if self._mode is not None:
            self._before = self._now()

    def after(self, decision: Decision, outcome: Outcome) -> None:
        """Add what was decided and what came of it."""
        if self._mode is not None:
            self._after = [scene.after(decision, outcome) for scene in self._before]

    def draw(self) -> list[NDArray[np.uint8] | None]:
        """Each cell's last step, or the cell as it is before the first one: (H, W, 3) arrays; None in a window.

        Raises:
            RuntimeError: `reset` was not called yet.
            DependencyNotInstalled: matplotlib is missing.
        """
        scenes = self._after or self._now()
        if self._renderer is None:
            self._renderer = Renderer(window=self._mode == "human", fps=FPS)
        return [self._renderer.draw(scene) for scene in scenes]

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _now(self) -> list[Scene]:
        return [Scene.now(self._simulator, index) for index in range(self._simulator.num_envs)]

    def __getstate__(self) -> dict[str, Any]:
        # A figure is drawn anew where it is needed.
        return {**self.__dict__, "_renderer": None}
