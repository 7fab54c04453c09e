"""What a testbed recorded, as files: layers and calls as Parquet, compute times as measurements, links as radio traces.

The last two are in the project's own schemas, so that `fit` and replay work on them: what was measured live can be
trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from wdmoe_env.files.atomic import write_text
from wdmoe_env.files.tables import write_rows
from wdmoe_env.hardware.latency.measurement import Measurement, significant
from wdmoe_env.hardware.latency.table import write_measurements
from wdmoe_env.hardware.radio.traces import RadioTrace, write_radio_trace
from wdmoe_env.scenario import Scenario, preset_names
from wdmoe_env.testbed.layer import LayerRecord

LAYERS: Final = "layers.parquet"
CALLS: Final = "calls.parquet"
MEASUREMENTS: Final = "measurements.csv"
POWER_MODE: Final = "live"
LEAST_SAMPLES: Final = 2
LEAST_SIZES: Final = 4
"""Different numbers of tokens that a device must have been measured with, to be replayed."""
GAP_S: Final = 100.0
"""Seconds between two episodes on the clock of the files: where logs are cut into stretches, see `TraceSettings`."""
MAX_GAP_S: Final = 10.0
SCENARIO: Final = "replay.yaml"


@dataclass(frozen=True)
class Episode:
    """The layers of one episode.

    Attributes:
        policy: who decided.
        run: which of its trained runs.
        episode: which.
        records: in order.
    """

    policy: str
    run: int
    episode: int
    records: tuple[LayerRecord, ...]


def write_records(folder: Path, episodes: Sequence[Episode], scenario: Scenario) -> None:
    """Write all files of the testbed's records to a folder that exists.

    Raises:
        OSError: a file cannot be written.
    """
    layers, calls = list(_layers(episodes)), list(_calls(episodes, scenario))
    for name, rows in ((LAYERS, layers), (CALLS, calls)):
        if rows:
            write_rows(folder / name, list(rows[0]), ([*row.values()] for row in rows))
    records = _in_a_row(episodes)
    measurements = list(_measurements(records, scenario))
    if measurements:
        write_measurements(folder / MEASUREMENTS, measurements)
    traces = list(_traces(records, scenario))
    for device, trace in traces:
        write_radio_trace(folder / trace_name(device), trace)
    if len(traces) == scenario.num_devices:
        links = [trace for _, trace in traces]
        write_text(folder / SCENARIO, _replay(scenario, measurements, links, _message_s(episodes)))


def _message_s(episodes: Sequence[Episode]) -> float:
    """Median seconds that a layer takes beyond transfer and computing on the device that takes longest for these."""
    spent = []
    for record in (record for episode in episodes for record in episode.records):
        parts = [record.parts(call) for call in record.calls if call.outcome == "answered"]
        if parts and record.attempts == 1:
            spent.append(record.measured - max(part["air"] + part["compute"] + part["copy"] for part in parts))
    return max(0.0, float(np.median(spent))) if spent else 0.0


def _replay(
    scenario: Scenario, measurements: Sequence[Measurement], traces: Sequence[RadioTrace], message_s: float
) -> str:
    """A scenario that replays the records: links of all devices, and compute of those that were measured enough."""
    data = scenario.model_dump(mode="json", exclude_none=True)
    steps = np.concatenate([np.diff(trace.seconds) for trace in traces])
    typical = float(np.median(steps[steps < MAX_GAP_S])) if (steps < MAX_GAP_S).any() else 0.1
    tokens = {
        row.board: len({other.tokens for other in measurements if other.board == row.board}) for row in measurements
    }
    devices = []
    for name, group in zip(scenario.device_names, scenario.device_groups, strict=True):
        device = {**group.model_dump(mode="json", exclude_none=True), "name": name, "count": 1}
        if tokens.get(name, 0) >= LEAST_SIZES:
            device["compute"] = {"kind": "measured", "file": MEASUREMENTS, "board": name, "power_mode": POWER_MODE}
        devices.append(device)
    data["channel"] |= {
        "shadowing": {"std_db": 0.0},
        "fading": {"kind": "none"},
        "trace": {
            "files": [trace_name(device) for device in range(scenario.num_devices)],
            "step_s": significant(max(typical, 1e-3), 2),
            "gaps": "split",
            "max_gap_s": MAX_GAP_S,
        },
    }
    # What the testbed taught: calls have a price of their own, and tokens are sent once.
    data["radio"] |= {"message_s": significant(message_s, 3), "token_once": True}
    data |= {"name": f"{scenario.name}-live", "devices": devices}
    if (like := scenario.based_on or scenario.name) in preset_names():
        data["based_on"] = like
    data["description"] = f"{scenario.name}, with the links and the compute that a testbed measured"
    said = "# Written by `evaluate.py --testbed`; everything it names lies beside it.\n"
    return said + yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def trace_name(device: int) -> str:
    """The file of a device's link."""
    return f"link-{device}.csv"


def _in_a_row(episodes: Sequence[Episode]) -> list[LayerRecord]:
    """The layers of all episodes on one clock, with a gap between episodes."""
    found, offset = list[LayerRecord](), 0.0
    for episode in episodes:
        start = min((record.clock_s for record in episode.records), default=0.0)
        moved = [replace(record, clock_s=record.clock_s - start + offset) for record in episode.records]
        found += moved
        offset = (moved[-1].clock_s if moved else offset) + GAP_S
    return found


def _labels(episode: Episode) -> dict[str, Any]:
    return {"policy": episode.policy, "run": episode.run, "episode": episode.episode}


def _layers(episodes: Sequence[Episode]) -> Iterator[dict[str, Any]]:
    for episode in episodes:
        for step, record in enumerate(episode.records):
            yield {
                **_labels(episode),
                "step": step,
                "predicted_s": record.predicted,
                "measured_s": record.measured,
                "attempts": record.attempts,
                "lost_mass": record.lost_mass,
                "decision_s": record.decision_s,
            }


def _calls(episodes: Sequence[Episode], scenario: Scenario) -> Iterator[dict[str, Any]]:
    names = scenario.device_names
    for episode in episodes:
        for step, record in enumerate(episode.records):
            for call in record.calls:
                yield {
                    **_labels(episode),
                    "step": step,
                    "name": names[call.device],
                    "slow_down": record.slow_down,
                    "predicted_s": float(record.predicted_device[call.device]),
                    "predicted_compute_s": float(record.predicted_compute[call.device]),
                    **asdict(call),
                    **{f"{part}_part_s": seconds for part, seconds in record.parts(call).items()},
                }


def _measurements(records: Sequence[LayerRecord], scenario: Scenario) -> Iterator[Measurement]:
    """Rows of calls that used one expert; with several their times cannot be told apart."""
    model, names = scenario.model, scenario.device_names
    trials = dict[tuple[int, int], int]()
    start = min((record.clock_s for record in records), default=0.0)
    for record in records:
        for call in record.calls:
            if call.outcome != "answered" or call.experts != 1:
                continue
            key = call.device, call.tokens
            trials[key] = trials.get(key, -1) + 1
            seconds = (call.compute_s + call.copy_in_s + call.copy_out_s + call.hold_s) / record.slow_down
            # What other work takes is no part of the expert's own time.
            seconds *= 1.0 - record.load[call.device]
            yield Measurement(
                board=names[call.device],
                power_mode=POWER_MODE,
                operation="swiglu_expert",
                tokens=call.tokens,
                hidden=model.hidden_size,
                intermediate=model.intermediate_size,
                precision="fp16",
                weight_bits=model.weight_bits,
                latency_s=seconds,
                trial=trials[key],
                time_s=record.clock_s - start,
                source="testbed, emulated device" if record.paced else "testbed",
            )


def _traces(records: Sequence[LayerRecord], scenario: Scenario) -> Iterator[tuple[int, RadioTrace]]:
    """(device, trace) of the SNR over the whole band that explains each transfer's rate over its share of the band."""
    band = scenario.radio.bandwidth_hz
    start = min((record.clock_s for record in records), default=0.0)
    for device in range(scenario.num_devices):
        seconds, down, up = list[float](), list[float](), list[float]()
        for record in records:
            for call in record.calls:
                times = max(call.send_s, call.receive_s), call.uplink_s
                if call.device != device or call.outcome != "answered" or min(times) <= 0.0:
                    continue
                share = float(record.bandwidth[device])
                sizes = call.bytes_down, call.bytes_up
                rates = [8.0 * size / time * record.slow_down for size, time in zip(sizes, times, strict=True)]
                values = [_snr_db(rate, share, band) for rate in rates]
                moment = record.clock_s - start
                if all(np.isfinite(values)) and (not seconds or moment > seconds[-1]):
                    seconds.append(moment)
                    down.append(values[0])
                    up.append(values[1])
        if len(seconds) >= LEAST_SAMPLES:
            shifted = np.array(seconds) - seconds[0]
            name = scenario.device_names[device]
            yield device, RadioTrace(shifted, np.array(down), "snr_db", np.array(up), name, f"testbed: {name}")


def _snr_db(bit_s: float, share: float, band: float) -> float:
    """SNR over the band at which a share of it carries so much, dB, by Shannon's formula."""
    if share <= 0.0:
        return np.nan
    efficiency = min(bit_s / share, 26.0)
    return float(np.clip(10.0 * np.log10(share * (2.0**efficiency - 1.0) / band), -50.0, 80.0))
