"""Scenario: one cell, one model, one reward, validated as a whole; presets and files load into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from wdmoe_env.arrays import IntArray
from wdmoe_env.gating.trace import open_trace
from wdmoe_env.hardware.latency.recordings import LatencyReplay
from wdmoe_env.hardware.radio.replay import Link, RadioReplay, replay_of
from wdmoe_env.settings.devices import DeviceSettings
from wdmoe_env.settings.groups import check_memory, expert_times, of_each
from wdmoe_env.settings.loading import invalid, merge, override, preset_names, read_logs, read_source, validated
from wdmoe_env.settings.parts import (
    ChannelSettings,
    GatingSettings,
    LoadSettings,
    ModelSettings,
    RadioSettings,
    RewardSettings,
    Settings,
    TrafficSettings,
)
from wdmoe_env.settings.paths import located
from wdmoe_env.system.compute import ComputeModel
from wdmoe_env.system.latency import Radio

__all__ = ["Scenario", "load_scenario", "merge", "preset_names", "scenario_from"]

MAX_BANK_BYTES = 4e9


class Scenario(Settings):
    """A complete, frozen description of what is simulated. See `docs/reference/scenario-keys.md` for every key.

    Making one reads no file, and so does comparing it. What follows from files that it names is read once it is asked
    for; `load_scenario` asks for all of it. Properties that read files raise a ValueError that names key and file.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Also names files: letters, digits, dots, underscores and hyphens."""
    description: str = ""
    based_on: str | None = None
    """Preset whose hyperparameters training takes for a scenario of another name; nothing that is simulated follows."""
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
    prices: Literal["device", "expert"] = "device"
    """What trained policies price: devices (`price` actions), or each expert (`expert-price`, of `expert` features)."""
    price_max: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Highest price that an action can mean, in units of gate weight. At 1 no token uses what it need not use."""

    @model_validator(mode="after")
    def _consistent(self) -> Scenario:
        model, passes = self.model, self.gating.bank_passes
        if (size := 4 * passes * model.layers * model.experts * self.traffic.tokens) > MAX_BANK_BYTES:
            raise ValueError(
                f"gating.bank_passes = {passes} passes of {model.layers} layers, {model.experts} experts and "
                f"{self.traffic.tokens} tokens need {size / 1e9:.1f} GB, expected at most {MAX_BANK_BYTES / 1e9:g} GB"
            )
        experts, devices = self.model.experts, self.num_devices
        if self.model.top_k > experts:
            raise ValueError(f"model.top_k is {self.model.top_k}, more than model.experts = {experts}")
        if experts < devices:
            raise ValueError(f"model.experts is {experts}, but {devices} devices need at least one expert each")
        if self.host is None:
            return self
        if len(self.host) != experts:
            raise ValueError(f"host names {len(self.host)} experts, expected model.experts = {experts}")
        for expert, device in enumerate(self.host):
            if not 0 <= device < devices:
                raise ValueError(f"host[{expert}] is {device}, expected a device from 0 to {devices - 1}")
        if idle := sorted(set(range(devices)) - set(self.host)):
            raise ValueError(f"host gives no expert to device {idle[0]}: every device must host at least one")
        return self

    def __copy__(self) -> Scenario:
        copied = super().__copy__()
        # What was worked out does not hold for a copy in which a value is replaced.
        for name in copied.__dict__.keys() - Scenario.model_fields.keys():
            del copied.__dict__[name]
        return copied

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

    @property
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
            message_s=radio.message_s,
            shared=radio.medium == "shared",
        )

    @property
    def sends_once(self) -> bool:
        """Whether devices of several experts are sent fewer tokens than their experts compute."""
        return self.radio.token_once and self.model.experts > self.num_devices

    @property
    def bounded(self) -> bool:
        """Whether what `baselines.bound` proves holds: of a band that is split, and tokens sent for each expert."""
        return self.radio.medium == "split" and not self.sends_once

    @cached_property
    def radio_replay(self) -> RadioReplay | None:
        """Gains from recorded logs, where `channel.trace` names any."""
        if (trace := self.channel.trace) is None:
            return None
        radio = self.radio_link
        band, powers = trace.band_hz or radio.bandwidth_hz, (radio.bs_power_w, radio.device_power_w)
        link = Link(band, powers, radio.noise_w_per_hz, trace.reference_dbm)
        with _named("channel.trace"):
            return replay_of(read_logs(trace), trace.step_s, link)

    @cached_property
    def compute_model(self) -> ComputeModel:
        """Seconds each device needs per used expert and per token, when idle: what policies know.

        Of measured devices the fit to the median of what is replayed; what happens differs from it (`ComputeReplay`).
        """
        hosts = self.hosts
        check_memory(self.devices, self.model, hosts)
        fixed, per_token = expert_times(self.devices, self.model, self.traffic.tokens)
        return ComputeModel(fixed, per_token, hosts)

    @cached_property
    def recordings(self) -> tuple[LatencyReplay | None, ...]:
        """What the devices of each group replay; None where their compute model is a formula."""
        return tuple(of_each(self.devices, lambda compute: compute.recording(self.model, self.traffic.tokens)))


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Put the key of a scenario before what is wrong with the files that it names."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _check_trace(scenario: Scenario) -> None:
    if (file := scenario.gating.trace) is None:
        return
    with _named("gating.trace"):
        trace = open_trace(file)
        trace.check_model(scenario.model.layers, scenario.model.experts, scenario.model.top_k)
        trace.check_length(scenario.traffic.tokens)


def _check_preset(name: str | None) -> None:
    if name is not None and name not in (presets := preset_names()):
        raise ValueError(f"based_on is {name!r:.60}, expected a preset, one of {', '.join(presets)}")


def check_files(scenario: Scenario, origin: str) -> None:
    """Read all that a scenario names: boards, measurements, logs and gate weights.

    Raises:
        ValueError: something is missing, broken, or does not fit; names `origin` and each key.
    """
    faults = []
    for read in (
        lambda: scenario.compute_model,
        lambda: scenario.recordings,
        lambda: scenario.radio_replay,
        lambda: _check_trace(scenario),
        lambda: _check_preset(scenario.based_on),
    ):
        try:
            read()
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise invalid(origin, list(dict.fromkeys(faults)))


def load_scenario(source: str | Path | Scenario, **overrides: Any) -> Scenario:
    """Load a preset by name, a YAML file by path, or take a Scenario; merge `overrides` deeply into it.

    Of `gating`, an override of `family` takes the place of `trace`, and the other way round. Files that it names are
    found, read and checked; their paths become absolute.

    Raises:
        ValueError: the scenario is unknown, a key or a value is wrong, or a file is missing, broken or does not fit;
            the message names each.

    >>> load_scenario("paper", traffic={"tokens": 16}).traffic.tokens
    16
    """
    if isinstance(source, Scenario):
        data, origin = source.model_dump(mode="json"), f"scenario {source.name!r}"
    else:
        data, origin = read_source(str(source)), str(source)
    scenario = validated(Scenario, located(override(data, overrides)), origin)
    check_files(scenario, origin)
    return scenario


def scenario_from(data: Any) -> Scenario:
    """Build a Scenario from what `model_dump(mode="json")` gave. `load_scenario` of it reads the files that it names.

    Raises:
        ValueError: a key or a value is wrong.
    """
    if not isinstance(data, dict):
        raise ValueError(f"a scenario is a {type(data).__name__}, expected a mapping of scenario keys")
    return validated(Scenario, data, f"scenario {data.get('name')!r:.80}")
