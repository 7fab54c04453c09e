"""Settings of devices: how they compute, by a formula or as measured, what they hold, how fast they move."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import model_validator

from wdmoe_env.hardware import boards
from wdmoe_env.hardware.latency.recordings import (
    LatencyReplay,
    ReplayMode,
    Shape,
    Source,
    affine_fit,
    median_seconds,
    recording,
)
from wdmoe_env.registry import Registry
from wdmoe_env.settings.kinds import ByKind, kind_of
from wdmoe_env.settings.parts import ModelSettings, Range, Settings
from wdmoe_env.settings.quantities import (
    MAX_SPEED_M_S,
    BytesPerSecond,
    DeviceCount,
    Duration,
    Gigabytes,
    Name,
    OperationsPerSecond,
    Seconds,
    within,
)


class ComputeSettings(Settings):
    """Base of all compute models. Subclass it for one of your own, and `register` the class."""

    kind: str

    @abstractmethod
    def expert_time(self, model: ModelSettings, tokens: int) -> tuple[float, float]:
        """Seconds of one expert on an idle device: (once it is used, for each token), for up to so many tokens.

        Raises:
            ValueError: something that the settings name is not there, or does not fit.
        """

    def recording(self, model: ModelSettings, tokens: int) -> LatencyReplay | None:
        """Measurements that are replayed in the place of `expert_time`, which then is what policies know; or None."""
        return None

    def memory_gb(self) -> float | None:
        """Memory of the device where the compute model knows it, 10^9 bytes."""
        return None


COMPUTE: Final = Registry[type[ComputeSettings]]("compute kind")
"""What `devices[].compute.kind` may be."""
Kind = TypeVar("Kind", bound=type[ComputeSettings])


def register(settings: Kind) -> Kind:
    """Let scenarios name a compute model of one's own by the `kind` of its settings; use it as a decorator.

    Raises:
        ValueError: the kind is taken, or the class has none.
        TypeError: it is no subclass of `ComputeSettings`.
    """
    if not (isinstance(settings, type) and issubclass(settings, ComputeSettings)):
        raise TypeError(f"compute model is {settings!r:.80}, expected a subclass of ComputeSettings")
    COMPUTE.register(kind_of(settings), settings)
    return settings


@register
class LinearCompute(ComputeSettings):
    """The paper's compute model: time in proportion to the tokens."""

    kind: Literal["linear"]
    flops_per_s: OperationsPerSecond

    def expert_time(self, model: ModelSettings, tokens: int) -> tuple[float, float]:
        """Seconds of one expert on an idle device: (once it is used, for each token)."""
        return 0.0, model.expert_flops / self.flops_per_s


@register
class RooflineCompute(ComputeSettings):
    """Launch overhead + reading the weights + arithmetic, from a board of the catalogue or from own figures."""

    kind: Literal["roofline"]
    board: str | None = None
    power_mode: str | None = None
    peak_flops: OperationsPerSecond | None = None
    memory_bandwidth: BytesPerSecond | None = None
    launch_s: Seconds | None = None

    @model_validator(mode="after")
    def _complete(self) -> RooflineCompute:
        own = (self.peak_flops, self.memory_bandwidth, self.launch_s)
        if self.board is None and (None in own or self.power_mode is not None):
            raise ValueError("give either board (and power_mode), or all of peak_flops, memory_bandwidth and launch_s")
        if self.board is not None and own != (None, None, None):
            raise ValueError(f"board {self.board!r} already sets peak_flops, memory_bandwidth and launch_s")
        return self

    def expert_time(self, model: ModelSettings, tokens: int) -> tuple[float, float]:
        """Seconds of one expert on an idle device: (once it is used, for each token)."""
        roof: Any = self if self.board is None else boards.roofline(self.board, self.power_mode)
        return roof.launch_s + model.expert_bytes / roof.memory_bandwidth, model.expert_flops / roof.peak_flops

    def memory_gb(self) -> float | None:
        """That of the board."""
        return _memory_gb(self.board)


@register
class MeasuredCompute(ComputeSettings):
    """Replay of measured latencies: of a shipped board, or from a measurement table of one's own."""

    kind: Literal["measured"]
    board: str | None = None
    """Board of the table; of a shipped one required, else by default the only one that the file holds."""
    power_mode: str | None = None
    """Power mode of the board; its default mode, or the only one that the file holds of it."""
    file: str | None = None
    """Measurement table, looked for in the working directory, then beside the scenario's file. Loading makes the path
    absolute, so that a saved scenario finds it from anywhere."""
    replay: ReplayMode = "distribution"
    """`distribution`: drawn from what was measured. `sequence`: single runs in the order they were recorded."""

    @property
    def source(self) -> Source:
        """The rows that are replayed."""
        return Source(self.file, self.board, self.power_mode)

    def recording(self, model: ModelSettings, tokens: int) -> LatencyReplay:
        """What is replayed for an expert of this model, of up to so many tokens.

        Raises:
            ValueError: the table is gone, or does not tell the latency of such an expert.
        """
        shape = Shape(model.hidden_size, model.intermediate_size, tokens, model.weight_bits)
        return recording(self.source, self.replay, shape)

    def expert_time(self, model: ModelSettings, tokens: int) -> tuple[float, float]:
        """The same as an affine fit to the median of what is replayed: what policies know of the device."""
        return affine_fit(median_seconds(self.recording(model, tokens), tokens)[1:])

    def memory_gb(self) -> float | None:
        """That of the board, where the catalogue knows it."""
        return _memory_gb(self.board)


def _memory_gb(board: str | None) -> float | None:
    return boards.load_board(board).memory_gb if board is not None and board in boards.board_names() else None


class Availability(Settings):
    """How long a device stays and is gone, each exponentially distributed: a Markov chain of two states."""

    up_s: Duration
    """Mean seconds that it is there."""
    down_s: Duration
    """Mean seconds that it is gone."""


class DeviceSettings(Settings):
    """A group of like devices."""

    name: Name
    count: DeviceCount = 1
    compute: Annotated[ComputeSettings, ByKind(COMPUTE)]
    memory_gb: Gigabytes | None = None
    """Memory of the device, 10^9 bytes; a board brings its own. Not checked where unknown."""
    memory_reserve_gb: Gigabytes = 1.5
    """Memory that the operating system and buffers keep (assumed)."""
    speed_m_s: Annotated[Range, within(0.0, MAX_SPEED_M_S)] = Range(low=0.0, high=0.0)
    availability: Availability | None = None
    """How it comes and goes; by default it is always there."""
