"""The parts of a scenario: typed, validated settings. Everything marked (R) in the docs is a setting here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from wdmoe_env.arrays import FloatArray
from wdmoe_env.registry import Registry
from wdmoe_env.settings.kinds import ByKind
from wdmoe_env.settings.quantities import (
    MAX_DISTANCE_M,
    MAX_EXPERTS,
    Count,
    Decibel,
    Diversity,
    Duration,
    Gigahertz,
    Hertz,
    LoadSpread,
    LogStep,
    Metres,
    Name,
    NoiseDensity,
    NoiseFigure,
    Operations,
    Penalty,
    Radians,
    Seconds,
    Share,
    Spread,
    Watts,
    WeightBits,
    within,
)

PathLoss = Callable[[FloatArray, float, FloatArray], FloatArray]
"""Path loss in dB of distances, m, at a carrier, GHz, with the numbers that decide on the line of sight."""
PATH_LOSSES: Final = Registry[PathLoss]("path loss")
"""What `channel.path_loss` may name; see `wdmoe_env.system.channel.register`."""


class Settings(BaseModel):
    """Base of all settings: unknown keys and wrong types are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Range(Settings):
    """An interval that values are drawn from, uniformly."""

    low: Annotated[float, Field(ge=0, le=MAX_DISTANCE_M)]
    high: Annotated[float, Field(ge=0, le=MAX_DISTANCE_M)]

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not exceed high ({self.high})")
        return self


class ModelSettings(Settings):
    """The mixture-of-experts model whose experts are distributed."""

    name: Name
    layers: Count
    hidden_size: Count
    intermediate_size: Count
    experts: Annotated[int, Field(ge=1, le=MAX_EXPERTS)]
    top_k: Count
    activation_flops: Operations = 4.0
    """FLOPs of the activation function per value, eta in the system model (assumed: SiLU as 4 operations)."""
    bits_per_value: Annotated[int, Field(ge=1, le=64)] = 16
    """Bits of one embedding value on the air."""
    weight_bits: WeightBits = 16.0
    """Bits of one expert weight in a device's memory."""

    @property
    def expert_flops(self) -> float:
        """FLOPs of one SwiGLU expert for one token (R for the form; Mixtral: 352 MFLOP)."""
        return (6.0 * self.hidden_size + self.activation_flops + 1.0) * self.intermediate_size

    @property
    def expert_bytes(self) -> float:
        """Bytes of one expert's three weight matrices in one layer."""
        return 3.0 * self.hidden_size * self.intermediate_size * self.weight_bits / 8.0

    @property
    def payload_bits(self) -> float:
        """Bits of one token's embedding in one direction (R)."""
        return float(self.bits_per_value * self.hidden_size)


class RadioSettings(Settings):
    """Power, noise and spectrum of the cell."""

    bandwidth_hz: Hertz
    carrier_ghz: Gigahertz
    bs_power_w: Watts
    device_power_w: Watts
    noise_dbm_per_hz: NoiseDensity = -174.0
    noise_figure_db: NoiseFigure = 0.0
    outage_s: Duration = 10.0
    """A link that cannot carry one token in this time is charged this time: nothing becomes infinite."""
    message_s: Seconds = 0.0
    """Seconds that a call of a device takes besides payload and computing: headers, queues, waking up."""
    token_once: bool = False
    """Whether a token goes once to a device that hosts several of its experts, and one weighted sum comes back."""
    medium: Literal["split", "shared"] = "split"
    """`split`: each link has its share of the band. `shared`: devices take turns on all of it; there are no shares."""


class Shadowing(Settings):
    """Log-normal shadowing, correlated over the distance a device moves (Gudmundson's model)."""

    std_db: Spread
    decorrelation_m: Metres = 10.0


class Fading(Settings):
    """Small-scale fading of each link."""

    kind: Literal["none", "rayleigh", "rician"]
    evolution: Literal["block", "gauss-markov"] = "block"
    """`block`: independent from step to step. `gauss-markov`: correlation J0(2 pi f_D dt) over the time that passed."""
    k_factor_db: Decibel = 6.0
    """Power of the line of sight over the scattered power, Rician only."""
    diversity: Diversity = 1
    """Independently fading branches whose power is averaged: antennas, and blocks of a band wider than the channel is
    coherent over."""


class TraceSettings(Settings):
    """Recorded radio logs that are replayed instead of path loss and shadowing."""

    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """Looked for in the working directory, then beside the scenario's file; loading makes the paths absolute."""
    assignment: Literal["in-turn", "drawn"] = "in-turn"
    """`in-turn`: device u replays file u mod F. `drawn`: each device draws a file at the start of an episode."""
    step_s: LogStep = 0.1
    """Step of the grid that the logs are resampled to."""
    interpolation: Literal["previous", "linear"] = "previous"
    gaps: Literal["refuse", "split"] = "refuse"
    """Whether a gap is an error, or cuts a log into stretches that are replayed each for itself."""
    max_gap_s: Duration = 10.0
    band_hz: Hertz | None = None
    """Band that SNR or throughput was measured over; by default that of the scenario."""
    reference_dbm: Decibel | None = None
    """Power that the base station of an RSRP log sent per resource element."""
    add_fading: bool = False
    """Whether small-scale fading is laid over the log, which must then be free of it."""


class ChannelSettings(Settings):
    """Where the devices are and how their links fade."""

    path_loss: Annotated[str, AfterValidator(PATH_LOSSES.known)] = "free-space"
    distance_m: Annotated[Range, within(1.0, MAX_DISTANCE_M)]
    """Path loss models hold from 1 m on."""
    shadowing: Shadowing = Shadowing(std_db=0.0)
    fading: Fading = Fading(kind="rayleigh")
    csi_delay_steps: Literal[0, 1] = 0
    """How many steps old the gains are that the base station knows."""
    csi_error_db: Spread = 0.0
    """Standard deviation of the estimation error, dB."""
    turn_std_rad: Radians = 0.3
    """How much a moving device's heading wanders in a second."""
    trace: TraceSettings | None = None
    """Recorded gains; path loss and shadowing are not used then, and positions are only drawn."""

    @property
    def uncertain(self) -> bool:
        """Whether the gains that the base station knows are stale or noisy."""
        return self.csi_delay_steps > 0 or self.csi_error_db > 0

    @model_validator(mode="after")
    def _recorded_or_modelled(self) -> ChannelSettings:
        if self.trace is None:
            return self
        if self.shadowing.std_db > 0:
            raise ValueError(
                f"trace holds the shadowing already: set shadowing.std_db to 0, not {self.shadowing.std_db}"
            )
        if (self.fading.kind != "none") != self.trace.add_fading:
            raise ValueError(
                f"trace.add_fading is {str(self.trace.add_fading).lower()} and fading.kind is {self.fading.kind!r}: "
                "set kind to none to replay a trace as it is, or set both to lay fading over a trace that is free of it"
            )
        return self


class LoadSettings(Settings):
    """Other work on the devices, and heat."""

    mean: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    std: LoadSpread = 0.0
    time_constant_s: Duration = 1.0
    thermal_time_constant_s: Duration = 10.0
    thermal_threshold: Share = 1.0
    """Share of time busy with experts or other work, averaged over the time constant, where throttling begins."""
    thermal_slowdown: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    """Share of its compute that a device which never rests loses."""
    initial_heat: Annotated[Range, within(0.0, 1.0)] = Range(low=0.0, high=1.0)
    """That average at the start of an episode, drawn for each device: what it did before."""


class TrafficSettings(Settings):
    """What the cell is asked to do."""

    tokens: Count
    passes_per_episode: Count = 1
    layer_gap_s: Seconds = 0.0
    """Time the base station spends between two layers (attention): the channel ages, but it is no part of latency."""
    pass_gap_s: Seconds = 0.0
    """Idle time between two forward passes."""


class FamilySettings(Settings):
    """Base of gate weights that a class of one's own draws; see `wdmoe_env.gating.register`."""

    kind: str

    @abstractmethod
    def draw_passes(
        self, *, passes: int, layers: int, tokens: int, experts: int, top_k: int, rng: np.random.Generator
    ) -> NDArray[np.floating]:
        """Draw forward passes, (passes, layers, experts, tokens); a token's weights are >= 0 and sum to 1 over experts.

        Everything random comes from `rng`, so that the same scenario always gives the same weights.
        """


class Style(Protocol):
    """A family that is known by its name alone, as `wdmoe_env.gating.GatingFamily` is."""

    @property
    def name(self) -> str:
        """What scenarios call it."""


FAMILIES: Final = Registry[type[FamilySettings] | Style]("gating family")
"""What `gating.family` may name; see `wdmoe_env.gating.register`."""


class GatingSettings(Settings):
    """Where gate weights come from: a synthetic family, or a file that a real model's were captured to."""

    family: Annotated[str | FamilySettings, ByKind(FAMILIES)] | None = None
    """A name, or a mapping of `kind` and settings where the family is a class that has some."""
    trace: str | None = None
    """File of gate weights, found as `TraceSettings.files` are; one that comes with the package is named alone."""
    bank_passes: Count = 256
    """Forward passes drawn once and replayed from; training and held-out banks are drawn apart."""

    @model_validator(mode="after")
    def _one_source(self) -> GatingSettings:
        if (self.family is None) == (self.trace is None):
            both = "neither" if self.family is None else f"both {self.family!r} and {self.trace!r}"
            raise ValueError(f"family and trace are {both}, expected exactly one of them: a family or a file")
        return self


class RewardSettings(Settings):
    """Which weight-to-latency ratio is rewarded, and how the floor on gate mass is kept."""

    metric: Literal["wlr", "wlr_token", "wlr_device"] = "wlr"
    normalize: Literal["top-k", "none"] = "top-k"
    mass_floor: Share = 0.95
    penalty: Penalty = 20.0
    """Reward taken for each unit of retained gate mass below the floor, where a step earns plain top-K's at most."""
    scale: Literal["linear", "log"] = "linear"
    """The ratio itself, or its natural logarithm."""
