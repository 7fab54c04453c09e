"""Cells on their own, without a simulator: a state, and how it goes on."""

from __future__ import annotations

from typing import Any

import numpy as np

from wdmoe_env import Scenario
from wdmoe_env.simulator.cell import CellDynamics
from wdmoe_env.simulator.noise import CellDraws


class RunningCells:
    """N cells at the start of an episode; their state's arrays are attributes."""

    def __init__(self, scenario: Scenario, num_envs: int, seed: int = 0) -> None:
        self._dynamics, self._draws = CellDynamics(scenario, num_envs), CellDraws(scenario, num_envs)
        self._rng = np.random.default_rng(seed)
        self.state = self._dynamics.start(self._draws.start(self._rng))

    def pass_time(self, seconds: Any, busy_share: float = 0.0) -> None:
        """Let seconds pass, the same in all cells or (N,), of which each device computes for a share."""
        cells, devices = self.state.load.shape
        elapsed = np.broadcast_to(seconds, cells).astype(float)
        busy = np.repeat(busy_share * elapsed[:, None], devices, axis=1)
        self.state = self._dynamics.advance(self.state, self._draws.noise(self._rng), elapsed, busy)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.state, name)
