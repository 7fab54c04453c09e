"""Cell: the devices' positions, channels and loads, for N environments, and how time changes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.arrays import FloatArray
from wdmoe_env.hardware.radio.replay import RadioReplay
from wdmoe_env.scenario import Scenario
from wdmoe_env.system import channel

MAX_LOAD = 0.95
NEWEST = 0.3
"""Weight of the newest estimate in the running mean of the channel's estimates."""
LEAST_GAIN = 1e-30
TRACE_STATE = ("stretch", "clock")
"""State of a cell with recorded gains, beside that of every cell."""


class Cell:
    """Batched physical state. Every step draws the same number of variates, whatever the policies do.

    Attributes:
        position: (N, U) complex, m; the base station is at 0.
        gain: (N, 2, U) true power gains, downlink first.
        known_gain: (N, 2, U) gains as the base station knows them.
        average_gain: (N, 2, U) geometric running mean of the known gains, or just these where they are the true ones.
        load: (N, U) share of compute that is taken.
        stretch, clock: with recorded gains: (N, U) stretch that a device replays, and seconds since its start.
    """

    STATE: tuple[str, ...] = (
        *("position", "velocity", "sight", "shadow", "scatter", "background", "heat"),
        *("gain", "known_gain", "average_gain", "load"),
    )

    def __init__(self, scenario: Scenario, num_envs: int) -> None:
        self._channel, self._load = scenario.channel, scenario.load
        self._carrier_ghz, self._replay = scenario.radio.carrier_ghz, scenario.radio_replay
        self._shape = (num_envs, scenario.num_devices)
        speeds = [group.speed_m_s for group in scenario.device_groups]
        self._speed = np.array([speed.low for speed in speeds]), np.array([speed.high for speed in speeds])
        self._moves = bool(self._speed[1].any())
        self._shadows = self._channel.shadowing.std_db > 0
        self._fades = self._channel.fading.kind != "none"
        self._throttles = self._load.thermal_slowdown > 0 and self._load.thermal_threshold < 1
        self._rows = self._plan_noise()
        if self._replay is not None:
            self.STATE = (*Cell.STATE, *TRACE_STATE)
        for name in self.STATE:
            setattr(self, name, np.zeros(0))

    position: FloatArray
    velocity: FloatArray
    sight: FloatArray
    shadow: FloatArray
    scatter: FloatArray
    background: FloatArray
    heat: FloatArray
    gain: FloatArray
    known_gain: FloatArray
    average_gain: FloatArray
    load: FloatArray
    stretch: NDArray[np.int64]
    clock: FloatArray

    def _plan_noise(self) -> dict[str, slice]:
        """Rows of the noise block that each process uses; only the scenario decides which there are."""
        wanted = {
            "scatter": 4 * self._channel.fading.diversity * self._fades,
            "shadow": self._shadows,
            "turn": self._moves,
            "background": self._load.std > 0,
            "csi": 2 * (self._channel.csi_error_db > 0),
        }
        rows, start = {}, 0
        for name, count in wanted.items():
            rows[name] = slice(start, start + int(count))
            start += int(count)
        return rows

    def _noise(self, rng: np.random.Generator) -> FloatArray:
        return rng.standard_normal((self._shape[0], self._rows["csi"].stop, self._shape[1]))

    def reset(self, rng: np.random.Generator) -> None:
        """Draw fresh positions, channels and loads; the base station has just sounded every channel."""
        drawn = rng.random((self._shape[0], 6, self._shape[1]))
        distance, angle, speed, heading, sight, heat = np.moveaxis(drawn, 1, 0)
        noise = self._noise(rng)
        reach = self._channel.distance_m
        self.position = (reach.low + (reach.high - reach.low) * distance) * np.exp(2j * np.pi * angle)
        slow, fast = self._speed
        self.velocity = (slow + (fast - slow) * speed) * np.exp(2j * np.pi * heading)
        self.sight = sight
        self.shadow = np.zeros(self._shape)
        if self._shadows:
            self.shadow = self._channel.shadowing.std_db * noise[:, self._rows["shadow"]][:, 0]
        self.scatter = self._scatter_noise(noise)
        self.background = noise[:, self._rows["background"]][:, 0] if self._load.std > 0 else np.zeros(self._shape)
        start = self._load.initial_heat
        self.heat = start.low + (start.high - start.low) * heat
        if self._replay is not None:
            self._begin_traces(self._replay, rng.random((2, *self._shape)))
        self._update_path()
        self._update(noise)
        self.known_gain = self.average_gain = self._estimate(self.gain, noise)

    def advance(self, rng: np.random.Generator, elapsed_s: FloatArray, busy_s: FloatArray) -> None:
        """Let (N,) seconds pass, in which each device computed for (N, U) seconds."""
        noise, before, other = self._noise(rng), self.gain, self._other_work()
        elapsed = elapsed_s[:, None]
        if self._moves:
            self._move(noise, elapsed)
        if self._replay is not None:
            self.clock = self.clock + elapsed
        if self._moves or self._replay is not None:
            self._update_path()
        if self._fades:
            self._fade(noise, elapsed)
        if self._load.std > 0:
            decay = np.exp(-elapsed / self._load.time_constant_s)
            fresh = noise[:, self._rows["background"]][:, 0]
            self.background = decay * self.background + np.sqrt(1.0 - np.square(decay)) * fresh
        if self._throttles:
            decay = np.exp(-elapsed / self._load.thermal_time_constant_s)
            busy = np.minimum(busy_s / np.maximum(elapsed, 1e-12) + other, 1.0)
            self.heat = decay * self.heat + (1.0 - decay) * busy
        self._update(noise)
        self.known_gain = self._estimate(before if self._channel.csi_delay_steps else self.gain, noise)
        self.average_gain = self._next_average() if self._channel.uncertain else self.known_gain

    def _scatter_noise(self, noise: FloatArray) -> FloatArray:
        """(N, link, real parts then imaginary parts of all branches, U)."""
        shape = self._shape[0], 2, 2 * self._channel.fading.diversity, self._shape[1]
        return noise[:, self._rows["scatter"]].reshape(shape) if self._fades else np.zeros(shape)

    def _move(self, noise: FloatArray, elapsed: FloatArray) -> None:
        turn = noise[:, self._rows["turn"]][:, 0]
        before = self.position
        self.position, self.velocity = channel.move(before, self.velocity, turn, elapsed, self._channel)
        if self._shadows:
            fresh = noise[:, self._rows["shadow"]][:, 0]
            moved = np.abs(self.position - before)
            self.shadow = channel.next_shadow(self.shadow, fresh, moved, self._channel.shadowing)

    def _fade(self, noise: FloatArray, elapsed: FloatArray) -> None:
        fresh = self._scatter_noise(noise)
        if self._channel.fading.evolution == "block":
            self.scatter = fresh
            return
        correlation = channel.doppler_correlation(np.abs(self.velocity), self._carrier_ghz, elapsed)
        self.scatter = channel.next_scatter(self.scatter, fresh, correlation[:, None, None, :])

    def _begin_traces(self, replay: RadioReplay, drawn: FloatArray) -> None:
        """Give each device a file and a place in it, from (2, N, U) uniform numbers."""
        turns = np.broadcast_to(np.arange(self._shape[1]) % replay.num_files, self._shape)
        own = self._channel.trace is not None and self._channel.trace.assignment == "drawn"
        file = (drawn[0] * replay.num_files).astype(np.int64) if own else turns
        self.stretch, self.clock = replay.begin(file, drawn[1])

    def _update_path(self) -> None:
        if self._replay is not None:
            self._path_gain = self._replay.at(self.stretch, self.clock)
            return
        loss = channel.path_loss_db(np.abs(self.position), self._carrier_ghz, self._channel.path_loss, self.sight)
        self._path_gain = np.power(10.0, -0.1 * (loss + self.shadow))[:, None, :]

    @property
    def path_gain(self) -> FloatArray:
        """True power gains but for the fading, downlink first: (N, 2, U), or (N, 1, U) where both links share them."""
        return self._path_gain

    def _update(self, noise: FloatArray) -> None:
        self.gain = self._path_gain * channel.fading_gain(self.scatter, self._channel.fading)
        load = self._other_work()
        if self._throttles:
            over = (self.heat - self._load.thermal_threshold) / (1.0 - self._load.thermal_threshold)
            load = 1.0 - (1.0 - np.minimum(load, MAX_LOAD)) * (
                1.0 - self._load.thermal_slowdown * np.clip(over, 0.0, 1.0)
            )
        self.load = np.minimum(load, MAX_LOAD)

    def _other_work(self) -> FloatArray:
        """Share of compute that work other than experts takes, (N, U)."""
        return np.minimum(np.maximum(self._load.mean + self._load.std * self.background, 0.0), MAX_LOAD)

    def _estimate(self, gain: FloatArray, noise: FloatArray) -> FloatArray:
        if self._channel.csi_error_db == 0:
            return gain
        return gain * np.power(10.0, 0.1 * self._channel.csi_error_db * noise[:, self._rows["csi"]])

    def _next_average(self) -> FloatArray:
        before, now = np.maximum(self.average_gain, LEAST_GAIN), np.maximum(self.known_gain, LEAST_GAIN)
        return before * np.power(now / before, NEWEST)

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that the future depends on, by name."""
        return {name: getattr(self, name).copy() for name in self.STATE}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        for name in self.STATE:
            setattr(self, name, np.array(state[name]))
        self._update_path()
