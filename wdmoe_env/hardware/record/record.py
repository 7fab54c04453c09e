"""Measure a SwiGLU expert with torch. Needs torch, which loads only when this runs, and nothing else."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from wdmoe_env.checks import check_fields
from wdmoe_env.hardware.latency.measurement import COLUMNS, Measurement
from wdmoe_env.hardware.latency.table import cells_of
from wdmoe_env.hardware.record.sensors import open_sensors

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}


@dataclass(frozen=True)
class MeasurementPlan:
    """What to measure: an expert of hidden x intermediate, at each count of tokens, so many trials."""

    board: Text
    power_mode: Text
    hidden: Count
    intermediate: Count
    tokens: Annotated[tuple[Count, ...], Field(min_length=1)]
    precision: Literal["fp16", "bf16", "fp32"] = "fp16"
    device: str = "cuda"
    trials: Count = 50
    warm_up: Annotated[int, Field(ge=0)] = 5
    threads: Count | None = None

    def __post_init__(self) -> None:
        check_fields(self)


def record(plan: MeasurementPlan, out: Path, progress: Callable[[str], None] | None = None) -> int:
    """Measure and write one row a run to a CSV, each as soon as it is complete; return their number.

    Every trial goes through all counts of tokens, so that a drift touches all of them alike. Ctrl-C ends the recording
    and keeps its complete rows. Latency is that of a call alone, waited for: device events on CUDA (`timer` event),
    else the host's clock.

    Raises:
        ValueError: the plan is wrong, the device is not there, or `out` exists or is no CSV.
        ImportError: torch is not installed.
    """
    if out.suffix != ".csv":
        raise ValueError(f"out={str(out)!r}, expected a name that ends in .csv: rows are written one by one")
    # Before there is a file.
    _torch(plan.device)
    runs = measure(plan)
    count = 0
    try:
        # Mode x: a recording is never overwritten.
        with out.open("x", newline="", encoding="utf-8") as file, closing(runs):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in runs:
                writer.writerow(cells_of(row))
                file.flush()
                count += 1
                if progress is not None:
                    progress(
                        f"{count}/{plan.trials * len(plan.tokens)} runs, {1e3 * row.latency_s:.3f} ms at {row.tokens}"
                    )
    except KeyboardInterrupt:
        if progress is not None:
            progress(f"stopped after {count} runs, which are kept")
    except FileExistsError:
        raise ValueError(f"{out} exists already, expected the name of a new file") from None
    return count


def measure(plan: MeasurementPlan) -> Generator[Measurement, None, None]:
    """Yield the runs of a plan, one measured expert each, warm-up runs apart."""
    torch = _torch(plan.device)
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    expert, inputs = _expert(torch, plan)
    clock = _cuda_clock(torch) if plan.device.startswith("cuda") else _host_clock
    timer = "event" if plan.device.startswith("cuda") else "host"
    # The wall clock once: it may be set while this runs, and time would fall.
    wall, began = time.time(), time.monotonic()
    source = f"recorded with torch {torch.__version__} on {plan.device}"
    with torch.inference_mode(), open_sensors() as sensors:
        for tokens in plan.tokens:
            for _ in range(plan.warm_up):
                clock(expert, inputs[tokens])
        for trial in range(plan.trials):
            for tokens in plan.tokens:
                started = wall + time.monotonic() - began
                seconds = clock(expert, inputs[tokens])
                reading = sensors.read()
                yield Measurement(
                    board=plan.board,
                    power_mode=plan.power_mode,
                    operation="swiglu_expert",
                    tokens=tokens,
                    hidden=plan.hidden,
                    intermediate=plan.intermediate,
                    precision=plan.precision,
                    timer=timer,  # type: ignore[arg-type]
                    latency_s=seconds,
                    trial=trial,
                    time_s=round(started, 6),
                    energy_j=None if reading.power_w is None else reading.power_w * seconds or None,
                    temperature_c=reading.temperature_c,
                    source=source,
                )


def show_progress(text: str) -> None:
    """Write over the last line of the error stream, so that standard output stays free."""
    sys.stderr.write(f"\r\033[K{text}" if sys.stderr.isatty() else f"{text}\n")
    sys.stderr.flush()


def _torch(device: str) -> Any:
    try:
        import torch
    except ImportError:
        raise ImportError("record needs torch, which is not installed: pip install torch") from None
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device={device!r}, expected cuda or cpu")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}: torch {torch.__version__} sees no CUDA device; use cpu, or a CUDA build")
    return torch


def _expert(torch: Any, plan: MeasurementPlan) -> tuple[Callable[[Any], Any], dict[int, Any]]:
    """A SwiGLU expert with random weights, and an input for each count of tokens."""
    generator = torch.Generator().manual_seed(0)
    options = {"dtype": getattr(torch, DTYPES[plan.precision]), "device": plan.device}

    def draw(rows: int, columns: int) -> Any:
        return (torch.randn(rows, columns, generator=generator) / columns**0.5).to(**options)

    gate, up = draw(plan.intermediate, plan.hidden), draw(plan.intermediate, plan.hidden)
    down = draw(plan.hidden, plan.intermediate)
    linear, silu = torch.nn.functional.linear, torch.nn.functional.silu

    def expert(x: Any) -> Any:
        return linear(silu(linear(x, gate)) * linear(x, up), down)

    return expert, {tokens: draw(tokens, plan.hidden) for tokens in sorted(set(plan.tokens))}


def _host_clock(expert: Callable[[Any], Any], x: Any) -> float:
    start = time.perf_counter()
    expert(x)
    return max(time.perf_counter() - start, 1e-9)


def _cuda_clock(torch: Any) -> Callable[[Callable[[Any], Any], Any], float]:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def clock(expert: Callable[[Any], Any], x: Any) -> float:
        torch.cuda.synchronize()
        start.record()
        expert(x)
        end.record()
        torch.cuda.synchronize()
        return max(start.elapsed_time(end) / 1e3, 1e-9)

    return clock


def parse_tokens(text: str) -> tuple[int, ...]:
    """Counts of tokens from a text such as 1,2,4; ValueError names what is no whole number.

    >>> parse_tokens("1,8,64")
    (1, 8, 64)
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"tokens={text!r}, expected whole numbers separated by commas, such as 1,8,64") from None


def plan_of(values: dict[str, Any], tokens: Sequence[int]) -> MeasurementPlan:
    """Plan from named values of a command line."""
    names = ("board", "power_mode", "hidden", "intermediate", "precision", "device", "trials", "warm_up", "threads")
    return MeasurementPlan(tokens=tuple(tokens), **{name: values[name] for name in names})
