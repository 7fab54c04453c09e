"""Scenario: one cell, one model, one reward, validated as a whole; presets and files load into it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationInfo, model_validator

from wdmoe_env.arrays import IntArray
from wdmoe_env.gating.trace import open_trace
from wdmoe_env.hardware import boards
from wdmoe_env.hardware.latency.recordings import LatencyReplay
from wdmoe_env.hardware.radio.replay import Link, RadioReplay, replay_of
from wdmoe_env.settings.devices import DeviceSettings, LinearCompute, MeasuredCompute
from wdmoe_env.settings.loading import merge, override, preset_names, read_source, validated
from wdmoe_env.settings.parts import (
    UNREAD,
    ChannelSettings,
    GatingSettings,
    LoadSettings,
    ModelSettings,
    RadioSettings,
    RewardSettings,
    Settings,
    TrafficSettings,
    reads_files,
)
from wdmoe_env.system.compute import ComputeModel
from wdmoe_env.system.latency import Radio

__all__ = ["Scenario", "load_scenario", "merge", "preset_names", "scenario_from"]

MAX_BANK_BYTES = 4e9


class Scenario(Settings):
    """A complete, frozen description of what is simulated. See `docs/scenarios.md` for every key."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Also names files: letters, digits, dots, underscores and hyphens."""
    description: str = ""
    model: ModelSettings
    devices: Annotated[tuple[DeviceSettings, ...], Field(min_length=1)]
    host: tuple[int, ...] | None = None
    """Device that hosts each expert; by default expert e lives on device e mod U (the identity where E = U)."""
    radio: RadioSettings
    channel: ChannelSettings
    load: LoadSettings = LoadSettings()
    traffic: TrafficSettings
    gating: GatingSettings
    reward: RewardSettings = RewardSettings()
    bandwidth: Literal["learned", "optimal", "residual"] = "optimal"
    """How a `price` action splits the band: by logits, exactly for the known gains, or by logits that correct that."""

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Scenario:
        model, passes = self.model, self.gating.bank_passes
        if (size := 4 * passes * model.layers * model.experts * self.traffic.tokens) > MAX_BANK_BYTES:
            raise ValueError(
                f"gating.bank_passes = {passes} passes of {model.layers} layers, {model.experts} experts and "
                f"{self.traffic.tokens} tokens need {size / 1e9:.1f} GB, expected at most {MAX_BANK_BYTES / 1e9:g} GB"
            )
        if reads_files(info):
            _ = self.recordings
        experts, devices = self.model.experts, self.num_devices
        if self.model.top_k > experts:
            raise ValueError(f"model.top_k is {self.model.top_k}, more than model.experts = {experts}")
        if experts < devices:
            raise ValueError(f"model.experts is {experts}, but {devices} devices need at least one expert each")
        if self.host is None:
            return self._fits_memory()
        if len(self.host) != experts:
            raise ValueError(f"host names {len(self.host)} experts, expected model.experts = {experts}")
        for expert, device in enumerate(self.host):
            if not 0 <= device < devices:
                raise ValueError(f"host[{expert}] is {device}, expected a device from 0 to {devices - 1}")
        if idle := sorted(set(range(devices)) - set(self.host)):
            raise ValueError(f"host gives no expert to device {idle[0]}: every device must host at least one")
        return self._fits_memory()

    @model_validator(mode="after")
    def _traces_give_gains(self, info: ValidationInfo) -> Scenario:
        if reads_files(info):
            _ = self.radio_replay
        return self

    @model_validator(mode="after")
    def _trace_gives_weights(self, info: ValidationInfo) -> Scenario:
        if self.gating.trace is not None and reads_files(info):
            trace = open_trace(self.gating.trace)
            trace.check_model(self.model.layers, self.model.experts, self.model.top_k)
            trace.check_length(self.traffic.tokens)
        return self

    def __eq__(self, other: object) -> bool:
        # By settings alone: pydantic would compare the arrays that cached properties keep, too.
        if not isinstance(other, Scenario):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Scenario.model_fields)

    def _fits_memory(self) -> Scenario:
        for device, group in enumerate(self.device_groups):
            memory = group.memory_gb
            board = None if isinstance(group.compute, LinearCompute) else group.compute.board
            if memory is None and board is not None and board in boards.board_names():
                memory = boards.load_board(board).memory_gb
            if memory is None:
                continue
            hosted = int(np.count_nonzero(self.hosts == device))
            needed = hosted * self.model.layers * self.model.expert_bytes / 1e9
            if needed > memory - group.memory_reserve_gb:
                raise ValueError(
                    f"device {device} ({group.name!r}) cannot hold its {hosted} expert(s) of {self.model.name}: "
                    f"{self.model.layers} layers at {self.model.weight_bits:g} bits need {needed:.1f} GB, "
                    f"of {memory:g} GB at most {memory - group.memory_reserve_gb:.1f} GB are free"
                )
        return self

    @property
    def num_devices(self) -> int:
        """Number of devices, U."""
        return sum(group.count for group in self.devices)

    @property
    def device_groups(self) -> tuple[DeviceSettings, ...]:
        """The group of each device, in order."""
        return tuple(group for group in self.devices for _ in range(group.count))

    @property
    def device_names(self) -> tuple[str, ...]:
        """A name for each device, in order."""
        return tuple(
            group.name if group.count == 1 else f"{group.name} {i + 1}"
            for group in self.devices
            for i in range(group.count)
        )

    @property
    def steps_per_episode(self) -> int:
        """Layers decided in one episode."""
        return self.model.layers * self.traffic.passes_per_episode

    @cached_property
    def hosts(self) -> IntArray:
        """(E,) device that hosts each expert."""
        if self.host is not None:
            return np.asarray(self.host, dtype=np.int64)
        return np.arange(self.model.experts, dtype=np.int64) % self.num_devices

    @cached_property
    def radio_link(self) -> Radio:
        """The radio's constants in SI units, with this model's payload."""
        radio = self.radio
        noise = 10.0 ** ((radio.noise_dbm_per_hz + radio.noise_figure_db - 30.0) / 10.0)
        return Radio(
            bandwidth_hz=radio.bandwidth_hz,
            bs_power_w=radio.bs_power_w,
            device_power_w=radio.device_power_w,
            noise_w_per_hz=noise,
            payload_bits=self.model.payload_bits,
            outage_s=radio.outage_s,
        )

    @cached_property
    def radio_replay(self) -> RadioReplay | None:
        """Gains from recorded logs, where `channel.trace` names any."""
        if (trace := self.channel.trace) is None:
            return None
        radio = self.radio_link
        band, powers = trace.band_hz or radio.bandwidth_hz, (radio.bs_power_w, radio.device_power_w)
        return replay_of(trace.read(), trace.step_s, Link(band, powers, radio.noise_w_per_hz, trace.reference_dbm))

    @cached_property
    def compute_model(self) -> ComputeModel:
        """Seconds each device needs per used expert and per token, when idle: what policies know.

        Of measured devices the fit to the median of what is replayed; what happens differs from it (`ComputeReplay`).
        """
        each = [group.compute.expert_time(self.model, self.traffic.tokens) for group in self.devices]
        fixed, per_token = np.repeat(np.transpose(each), [group.count for group in self.devices], axis=1)
        return ComputeModel(fixed, per_token, self.hosts)

    @cached_property
    def recordings(self) -> tuple[LatencyReplay | None, ...]:
        """What the devices of each group replay; None where their compute model is a formula.

        Raises:
            ValueError: a measurement table is gone, or does not tell the latency of an expert of this model.
        """
        return tuple(
            group.compute.recording(self.model, self.traffic.tokens)
            if isinstance(group.compute, MeasuredCompute)
            else None
            for group in self.devices
        )


def load_scenario(source: str | Path | Scenario, **overrides: Any) -> Scenario:
    """Load a preset by name, a YAML file by path, or take a Scenario; merge `overrides` deeply into it.

    Of `gating`, an override of `family` takes the place of `trace`, and the other way round.

    Raises:
        ValueError: the scenario is unknown, or a key or a value is wrong; the message names each.

    >>> load_scenario("paper", traffic={"tokens": 16}).traffic.tokens
    16
    """
    if isinstance(source, Scenario):
        data, origin = source.model_dump(mode="json"), f"scenario {source.name!r}"
    else:
        data, origin = read_source(str(source)), str(source)
    return validated(Scenario, override(data, overrides), origin)


def scenario_from(data: Any, read_files: bool = True) -> Scenario:
    """Build a Scenario from what `model_dump(mode="json")` gave.

    Without `read_files` the files that it names are neither looked for nor read: it can be compared with another one.

    Raises:
        ValueError: a key or a value is wrong.
    """
    if not isinstance(data, dict):
        raise ValueError(f"a scenario is a {type(data).__name__}, expected a mapping of scenario keys")
    return validated(Scenario, data, f"scenario {data.get('name')!r:.80}", None if read_files else {UNREAD: True})
