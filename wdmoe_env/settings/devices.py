"""Settings of devices: how they compute, by a formula or as measured, what they hold, how fast they move."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

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
from wdmoe_env.settings.parts import Count, ModelSettings, NonNegative, Positive, Range, Settings, reads_files
from wdmoe_env.settings.paths import resolve


class LinearCompute(Settings):
    """The paper's compute model: time in proportion to the tokens."""

    kind: Literal["linear"]
    flops_per_s: Positive

    def expert_time(self, model: ModelSettings, tokens: int) -> tuple[float, float]:
        """Seconds of one expert on an idle device: (once it is used, for each token)."""
        return 0.0, model.expert_flops / self.flops_per_s


class RooflineCompute(Settings):
    """Launch overhead + reading the weights + arithmetic, from a board of the catalogue or from own figures."""

    kind: Literal["roofline"]
    board: str | None = None
    power_mode: str | None = None
    peak_flops: Positive | None = None
    memory_bandwidth: Positive | None = None
    launch_s: NonNegative | None = None

    @model_validator(mode="after")
    def _complete(self) -> RooflineCompute:
        own = (self.peak_flops, self.memory_bandwidth, self.launch_s)
        if self.board is None and (None in own or self.power_mode is not None):
            raise ValueError("give either board (and power_mode), or all of peak_flops, memory_bandwidth and launch_s")
        if self.board is not None:
            if own != (None, None, None):
                raise ValueError(f"board {self.board!r} already sets peak_flops, memory_bandwidth and launch_s")
            boards.roofline(self.board, self.power_mode)
        return self

    def expert_time(self, model: ModelSettings, tokens: int) -> tuple[float, float]:
        """Seconds of one expert on an idle device: (once it is used, for each token)."""
        roof: Any = self if self.board is None else boards.roofline(self.board, self.power_mode)
        return roof.launch_s + model.expert_bytes / roof.memory_bandwidth, model.expert_flops / roof.peak_flops


class MeasuredCompute(Settings):
    """Replay of measured latencies: of a shipped board, or from a measurement table of one's own."""

    kind: Literal["measured"]
    board: str | None = None
    """Board of the table; of a shipped one required, else by default the only one that the file holds."""
    power_mode: str | None = None
    """Power mode of the board; its default mode, or the only one that the file holds of it."""
    file: str | None = None
    """Measurement table, looked for in the working directory, then beside the scenario's file. Kept as an absolute
    path, so that a saved scenario finds it from anywhere."""
    replay: ReplayMode = "distribution"
    """`distribution`: drawn from what was measured. `sequence`: single runs in the order they were recorded."""

    @field_validator("file")
    @classmethod
    def _absolute(cls, file: str | None, info: ValidationInfo) -> str | None:
        return str(resolve(file).absolute()) if file is not None and reads_files(info) else file

    @model_validator(mode="after")
    def _measured(self, info: ValidationInfo) -> MeasuredCompute:
        if reads_files(info):
            self.source.rows()
        return self

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


class DeviceSettings(Settings):
    """A group of like devices."""

    name: str
    count: Count = 1
    compute: Annotated[LinearCompute | RooflineCompute | MeasuredCompute, Field(discriminator="kind")]
    memory_gb: Positive | None = None
    """Memory of the device, 10^9 bytes; a board brings its own. Not checked where unknown."""
    memory_reserve_gb: NonNegative = 1.5
    """Memory that the operating system and buffers keep (assumed)."""
    speed_m_s: Range = Range(low=0.0, high=0.0)
