"""Random numbers of cells, drawn in one place: how many there are depends on the scenario alone, never on decisions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wdmoe_env.arrays import FloatArray
from wdmoe_env.scenario import Scenario


class CellNoise(NamedTuple):
    """Unit-normal numbers of a step, by the process that they drive; None where the scenario has no such process.

    Attributes:
        scatter: (N, 2, 2 L, U) of small-scale fading.
        shadow, turn, background: (N, U) of shadowing, of headings, and of other work's load.
        csi: (N, 2, U) of the error of channel estimates.
        switch: (N, U) uniform in [0, 1), which devices come and go by.
    """

    scatter: FloatArray | None
    shadow: FloatArray | None
    turn: FloatArray | None
    background: FloatArray | None
    csi: FloatArray | None
    switch: FloatArray | None


class CellStart(NamedTuple):
    """Random numbers that episodes begin with.

    Attributes:
        uniform: (6, N, U) in [0, 1): distance, angle, speed, heading, sight and heat.
        noise: as in every step.
        trace: (2, N, U) in [0, 1): log and place in it; None without recorded gains.
    """

    uniform: FloatArray
    noise: CellNoise
    trace: FloatArray | None


class CellDraws:
    """What the N cells of a scenario draw: one block of normal numbers a step, of which each process has its rows."""

    def __init__(self, scenario: Scenario, num_envs: int) -> None:
        self._at, rows = _rows(scenario)
        self._block = num_envs, rows, scenario.num_devices
        self._scatter = num_envs, 2, 2 * scenario.channel.fading.diversity, scenario.num_devices
        self._replays = scenario.radio_replay is not None
        self._switches = any(group.availability is not None for group in scenario.devices)

    def noise(self, rng: np.random.Generator) -> CellNoise:
        """Draw the noise of one step."""
        block = rng.standard_normal(self._block)
        scatter, shadow, turn, background, csi = [None if at is None else block[:, at] for at in self._at]
        faded = None if scatter is None else scatter.reshape(self._scatter)
        switch = rng.random((self._block[0], self._block[2])) if self._switches else None
        return CellNoise(faded, shadow, turn, background, csi, switch)

    def start(self, rng: np.random.Generator) -> CellStart:
        """Draw what episodes begin with."""
        cells, _, devices = self._block
        uniform = np.moveaxis(rng.random((cells, 6, devices)), 1, 0)
        noise = self.noise(rng)
        return CellStart(uniform, noise, rng.random((2, cells, devices)) if self._replays else None)


def _rows(scenario: Scenario) -> tuple[list[slice | int | None], int]:
    """Rows of the block that each process of `CellNoise` uses, and how many rows there are."""
    channel = scenario.channel
    rows = 4 * channel.fading.diversity * (channel.fading.kind != "none")
    at: list[slice | int | None] = [slice(0, rows) if rows else None]
    single = (
        channel.shadowing.std_db > 0,
        any(group.speed_m_s.high > 0 for group in scenario.device_groups),
        scenario.load.std > 0,
    )
    for wanted in single:
        at.append(rows if wanted else None)
        rows += wanted
    csi = 2 * (channel.csi_error_db > 0)
    return [*at, slice(rows, rows + csi) if csi else None], rows + csi
