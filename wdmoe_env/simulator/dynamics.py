"""How N cells go from state to state: all that is random comes from the state's Generator, all else from the state."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.scenario import Scenario
from wdmoe_env.settings.contents import fingerprint
from wdmoe_env.simulator.cell import CellDynamics
from wdmoe_env.simulator.compute_replay import ComputeReplay
from wdmoe_env.simulator.noise import CellDraws
from wdmoe_env.simulator.state import SimulatorState, arrays_of, check_form
from wdmoe_env.system.layer import LayerTimes

DECIDE: Final = ("model", "devices", "host", "radio", "channel", "load", "traffic", "gating")
"""Sections of a scenario on which it depends how states go on."""


class Dynamics:
    """The N cells of a scenario, and a bank of P forward passes of gate weights; nothing in here changes.

    Attributes:
        cells: devices, channels and loads.
        replay: times of measured experts.
    """

    def __init__(self, scenario: Scenario, num_envs: int, passes: int, split: str) -> None:
        self.cells, self.replay = CellDynamics(scenario, num_envs), ComputeReplay(scenario, num_envs)
        self._draws, self._traffic, self._layers = (
            CellDraws(scenario, num_envs),
            scenario.traffic,
            scenario.model.layers,
        )
        self._shape, self._bank_passes = (num_envs, scenario.num_devices), passes
        self._identity = scenario, split

    def start(self, rng: np.random.Generator) -> SimulatorState:
        """Draw a state that episodes begin in."""
        cell, compute = self.cells.start(self._draws.start(rng)), self.replay.start(rng)
        return SimulatorState(cell, compute, self._draw_passes(rng), np.zeros(self._shape), 0, rng, self.digest)

    def advance(self, state: SimulatorState, times: LayerTimes) -> SimulatorState:
        """The state after a layer that took so long, and the gap that follows; the same draws whatever it took."""
        gap, step, passes, rng = self._traffic.layer_gap_s, state.step + 1, state.passes, state.rng
        if ends := step % self._layers == 0:
            gap += self._traffic.pass_gap_s
        cell = self.cells.advance(state.cell, self._draws.noise(rng), times.latency + gap, times.computation)
        compute = self.replay.advance(state.compute, self.replay.draw(rng))
        if ends:
            passes = self._draw_passes(rng)
        return SimulatorState(cell, compute, passes, times.device, step, rng, state.cells)

    def check(self, state: SimulatorState) -> None:
        """Raise a ValueError where a state is none of these cells; it names the field and what was expected."""
        check_form(state, self._form)
        if state.cells != self.digest:
            raise ValueError(f"state.cells is {state.cells:.12}, expected {self.digest:.12}: it is of other cells")
        for array in arrays_of(state):
            if not np.isfinite(array).all():
                raise ValueError("state holds what is no finite number")
        if state.step < 0:
            raise ValueError(f"state.step is {state.step}, expected at least 0")
        _check_range("passes", state.passes, self._bank_passes - 1)
        if state.cell.trace is not None:
            _check_range("cell.trace.stretch", state.cell.trace.stretch, self.cells.stretches - 1)

    @cached_property
    def digest(self) -> str:
        """Of the settings and files that decide how states go on, and of the split that gate weights come from."""
        scenario, split = self._identity
        return fingerprint({**scenario.model_dump(mode="json", include=set(DECIDE)), "split": split})

    @cached_property
    def _form(self) -> SimulatorState:
        """A state whose arrays have the right shapes and types."""
        return self.start(np.random.default_rng(0))

    def _draw_passes(self, rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.integers(self._bank_passes, size=self._shape[0])


def _check_range(name: str, values: NDArray[np.int64], last: int) -> None:
    """Refuse what is no index up to `last`."""
    if (low := values.min()) < 0 or (high := values.max()) > last:
        raise ValueError(f"state.{name} holds {low if low < 0 else high}, expected 0 to {last}")
