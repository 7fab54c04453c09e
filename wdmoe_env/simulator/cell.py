"""How cells begin, and how time changes them: pure functions of a state, noise and seconds."""

from __future__ import annotations

import numpy as np

from wdmoe_env.arrays import BoolArray, ComplexArray, FloatArray
from wdmoe_env.scenario import Scenario
from wdmoe_env.simulator.noise import CellNoise, CellStart
from wdmoe_env.simulator.state import CellState, TraceState
from wdmoe_env.system import availability, channel

MAX_LOAD = 0.95
NEWEST = 0.3
"""Weight of the newest estimate in the running mean of the channel's estimates."""
LEAST_GAIN = 1e-30


class CellDynamics:
    """How the N cells of a scenario begin and go on; nothing in here changes."""

    def __init__(self, scenario: Scenario, num_envs: int) -> None:
        self._channel, self._load = scenario.channel, scenario.load
        self._carrier_ghz, self._replay = scenario.radio.carrier_ghz, scenario.radio_replay
        self._shape = (num_envs, scenario.num_devices)
        speeds = [group.speed_m_s for group in scenario.device_groups]
        self._speed = np.array([speed.low for speed in speeds]), np.array([speed.high for speed in speeds])
        stays = [group.availability for group in scenario.device_groups]
        self._stays = (
            np.array([1.0 if stay is None else stay.up_s for stay in stays]),
            np.array([0.0 if stay is None else stay.down_s for stay in stays]),
        )
        self._throttles = self._load.thermal_slowdown > 0 and self._load.thermal_threshold < 1

    def start(self, drawn: CellStart) -> CellState:
        """Fresh positions, channels and loads; the base station has just sounded every channel."""
        distance, angle, speed, heading, sight, warmth = drawn.uniform
        ring, (slow, fast), warm = self._channel.distance_m, self._speed, self._load.initial_heat
        shadow, scatter, background = self._first(drawn.noise)
        position = (ring.low + (ring.high - ring.low) * distance) * np.exp(2j * np.pi * angle)
        velocity = (slow + (fast - slow) * speed) * np.exp(2j * np.pi * heading)
        heat = warm.low + (warm.high - warm.low) * warmth
        trace = self._begin_traces(drawn.trace)
        path_gain = self._path_gain(position, sight, shadow, trace)
        gain = path_gain * channel.fading_gain(scatter, self._channel.fading)
        known, load = self._estimate(gain, drawn.noise), self._all_work(background, heat)
        return CellState(
            *(position, velocity, sight, shadow, scatter, background, heat),
            *(path_gain, gain, known, known, load, trace, self._presence(None, drawn.noise, np.array([[np.inf]]))),
        )

    def advance(self, state: CellState, noise: CellNoise, elapsed_s: FloatArray, busy_s: FloatArray) -> CellState:
        """The state after (N,) seconds, in which each device computed for (N, U) seconds."""
        elapsed = elapsed_s[:, None]
        position, velocity, shadow = self._move(state, noise, elapsed)
        trace, path_gain = state.trace, state.path_gain
        if trace is not None:
            trace = TraceState(trace.stretch, trace.clock + elapsed)
        if noise.turn is not None or trace is not None:
            path_gain = self._path_gain(position, state.sight, shadow, trace)
        scatter = self._fade(state.scatter, noise, velocity, elapsed)
        background, heat = self._next_background(state, noise, elapsed), self._next_heat(state, elapsed, busy_s)
        gain = path_gain * channel.fading_gain(scatter, self._channel.fading)
        known = self._estimate(state.gain if self._channel.csi_delay_steps else gain, noise)
        average = _next_average(state.average_gain, known) if self._channel.uncertain else known
        return CellState(
            *(position, velocity, state.sight, shadow, scatter, background, heat),
            *(path_gain, gain, known, average, self._all_work(background, heat), trace),
            present=self._presence(state.present, noise, elapsed),
        )

    def _presence(self, present: BoolArray | None, noise: CellNoise, elapsed: FloatArray) -> BoolArray | None:
        """Which devices are there after (N, 1) seconds; None where all always are."""
        if noise.switch is None:
            return None
        before = np.ones(self._shape, dtype=bool) if present is None else present
        return availability.next_presence(before, noise.switch, elapsed, *self._stays)

    @property
    def stretches(self) -> int:
        """Stretches of recorded gains that there are."""
        return 0 if self._replay is None else len(self._replay.start)

    def _first(self, noise: CellNoise) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Shadowing, scattered amplitudes and other work that episodes begin with; 0 without such a process."""
        cells, devices = self._shape
        nothing, scatter = np.zeros(self._shape), noise.scatter
        if scatter is None:
            scatter = np.zeros((cells, 2, 2 * self._channel.fading.diversity, devices))
        shadow = nothing if noise.shadow is None else self._channel.shadowing.std_db * noise.shadow
        return shadow, scatter, nothing if noise.background is None else noise.background

    def _begin_traces(self, drawn: FloatArray | None) -> TraceState | None:
        """Give each device a file and a place in it, from (2, N, U) uniform numbers."""
        if drawn is None or self._replay is None:
            return None
        files = self._replay.num_files
        own = self._channel.trace is not None and self._channel.trace.assignment == "drawn"
        turns = np.broadcast_to(np.arange(self._shape[1]) % files, self._shape)
        return TraceState(*self._replay.begin((drawn[0] * files).astype(np.int64) if own else turns, drawn[1]))

    def _move(
        self, state: CellState, noise: CellNoise, elapsed: FloatArray
    ) -> tuple[ComplexArray, ComplexArray, FloatArray]:
        """Position, velocity and shadowing after the (N, 1) seconds that have passed."""
        before, shadow = state.position, state.shadow
        if noise.turn is None:
            return before, state.velocity, shadow
        position, velocity = channel.move(before, state.velocity, noise.turn, elapsed, self._channel)
        if noise.shadow is not None:
            shadow = channel.next_shadow(shadow, noise.shadow, np.abs(position - before), self._channel.shadowing)
        return position, velocity, shadow

    def _fade(self, scatter: FloatArray, noise: CellNoise, velocity: ComplexArray, elapsed: FloatArray) -> FloatArray:
        if noise.scatter is None:
            return scatter
        if self._channel.fading.evolution == "block":
            return noise.scatter
        correlation = channel.doppler_correlation(np.abs(velocity), self._carrier_ghz, elapsed)
        return channel.next_scatter(scatter, noise.scatter, correlation[:, None, None, :])

    def _path_gain(
        self, position: ComplexArray, sight: FloatArray, shadow: FloatArray, trace: TraceState | None
    ) -> FloatArray:
        if trace is not None and self._replay is not None:
            return self._replay.at(trace.stretch, trace.clock)
        loss = channel.path_loss_db(np.abs(position), self._carrier_ghz, self._channel.path_loss, sight)
        return np.power(10.0, -0.1 * (loss + shadow))[:, None, :]

    def _estimate(self, gain: FloatArray, noise: CellNoise) -> FloatArray:
        return gain if noise.csi is None else gain * np.power(10.0, 0.1 * self._channel.csi_error_db * noise.csi)

    def _next_background(self, state: CellState, noise: CellNoise, elapsed: FloatArray) -> FloatArray:
        if noise.background is None:
            return state.background
        decay = np.exp(-elapsed / self._load.time_constant_s)
        return decay * state.background + np.sqrt(1.0 - np.square(decay)) * noise.background

    def _next_heat(self, state: CellState, elapsed: FloatArray, busy_s: FloatArray) -> FloatArray:
        if not self._throttles:
            return state.heat
        decay = np.exp(-elapsed / self._load.thermal_time_constant_s)
        busy = np.minimum(busy_s / np.maximum(elapsed, 1e-12) + self._other_work(state.background), 1.0)
        return decay * state.heat + (1.0 - decay) * busy

    def _other_work(self, background: FloatArray) -> FloatArray:
        """Share of compute that work other than experts takes, (N, U)."""
        return np.minimum(np.maximum(self._load.mean + self._load.std * background, 0.0), MAX_LOAD)

    def _all_work(self, background: FloatArray, heat: FloatArray) -> FloatArray:
        """The same with what throttling takes, (N, U)."""
        load = self._other_work(background)
        if not self._throttles:
            return load
        over = (heat - self._load.thermal_threshold) / (1.0 - self._load.thermal_threshold)
        left = 1.0 - self._load.thermal_slowdown * np.clip(over, 0.0, 1.0)
        return np.minimum(1.0 - (1.0 - load) * left, MAX_LOAD)


def _next_average(average: FloatArray, known: FloatArray) -> FloatArray:
    before, now = np.maximum(average, LEAST_GAIN), np.maximum(known, LEAST_GAIN)
    return before * np.power(now / before, NEWEST)
