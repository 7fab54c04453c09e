"""Faults while text is generated: killed and stopped devices, broken connections, wrong keys and models, odd answers.

Devices are processes behind proxies. Before each pass of a generation one of them gets a random fault; what the layers
give is compared with the same experts in this process, under the selection that was recorded. Then the fault ends, and
the device must be used again. Bars: no layer outlasts its deadlines, every output is the reference, every device comes
back.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import asyncio
import logging
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import harness
from benchmarks.testbed_proxy import FAULTS, Proxy

KINDS: Final = (*FAULTS, "kill", "stop", "wrong key", "wrong model")
COLUMNS: Final = ("fault", "times", "struck", "layers", "asked again", "slowest layer, s", "largest error", "came back")
MARGIN_S: Final = 1.0
"""Seconds beyond its deadlines in which a layer must be over."""
CLOSE: Final = 1e-4


@dataclass(frozen=True)
class Options(harness.Options):
    """What is tried."""

    model: Path | None = None
    """Folder of a mixture-of-experts model; by default a random one of a few thousand weights."""
    faults: int = 200
    """How many."""
    devices: int = 4
    """Processes."""
    deadline: float = 1.0
    """Seconds that devices have to answer."""
    seed: int = 0
    """Which faults, of which devices."""


@dataclass
class Row:
    """What came of one kind of fault."""

    fault: str
    times: int = 0
    struck: int = 0
    layers: int = 0
    again: int = 0
    slowest_s: float = 0.0
    error: float = 0.0
    back: int = 0
    hung: int = 0
    wrong: int = 0


@dataclass
class Cell:
    """The testbed and what is known of it."""

    station: Any
    local: Any
    proxies: list[Proxy]
    decoder: Any
    reference: Any
    folder: Path
    runs: list[tuple[Any, Any, float]] = field(default_factory=list)

    def run(self, order: Any) -> Any:
        """A layer, as the station runs it, with its time."""
        begin = time.perf_counter()
        done = type(self.station).run(self.station, order)
        self.runs.append((order, done, time.perf_counter() - begin))
        return done


def main(options: Options) -> None:
    logging.disable(logging.WARNING)
    if options.faults < 1 or options.devices < 2:
        raise ValueError(f"faults is {options.faults} and devices {options.devices}, expected at least 1 and 2")
    with harness.Report(options, COLUMNS) as report:
        rows = measure(options)
        for row in rows:
            cells = [f"{row.times}", f"{row.struck}", f"{row.layers}", f"{row.again}", f"{row.slowest_s:.2f}"]
            report.add(asdict(row), [row.fault, *cells, f"{row.error:.1e}", f"{row.back} of {row.times}"])
        hung, wrong = sum(row.hung for row in rows), sum(row.wrong for row in rows)
        lost = sum(row.times - row.back for row in rows)
        report.note(
            f"{hung} layers outlasted their deadlines, {wrong} outputs were wrong, {lost} devices did not return"
        )


def measure(options: Options) -> list[Row]:
    """Try all faults; one row for each kind."""
    from wdmoe_env.testbed.experts import Experts
    from wdmoe_env.testbed.local import LocalDevices
    from wdmoe_env.testbed.shares import ExpertFiles

    rng, rows = np.random.default_rng(options.seed), defaultdict[str, Row](lambda: Row(""))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or random_model(folder / "model")
        files = ExpertFiles(model)
        shares = [files.experts[device :: options.devices] for device in range(options.devices)]
        with LocalDevices(model, shares) as local, _Thread() as thread:
            proxies = [Proxy(*address) for address in local.addresses]
            places = [thread.run(proxy.listen()) for proxy in proxies]
            cell = _cell(options, local, proxies, places, files, folder, Experts(files, files.experts))
            with cell.station:
                cell.station.open()
                for _ in range(options.faults):
                    kind, device = str(rng.choice(KINDS)), int(rng.integers(options.devices))
                    row = rows[kind]
                    row.fault = kind
                    _try(cell, row, device, options.deadline)
    return [rows[kind] for kind in KINDS if kind in rows]


def _cell(
    options: Options, local: Any, proxies: list[Proxy], places: Any, files: Any, folder: Path, whole: Any
) -> Cell:
    import baselines
    from wdmoe_env.testbed.cluster import links_to
    from wdmoe_env.testbed.passes import Decoder, fitted
    from wdmoe_env.testbed.peer import Peer
    from wdmoe_env.testbed.split_model import load_split
    from wdmoe_env.testbed.station import Station

    model = load_split(files.folder, "float32")
    scenario = fitted("paper", model)
    device = scenario.devices[0].model_dump(mode="json") | {"count": options.devices}
    scenario = replace_devices(scenario, device)
    shares = [files.experts[index :: options.devices] for index in range(options.devices)]
    peers = [Peer(f"device {i}", place[0], place[1], local.key) for i, place in enumerate(places)]
    links = links_to(peers, files, shares)
    station = Station(links, scenario.hosts, "float32", options.deadline)
    cell = Cell(station, local, proxies, None, whole, folder)
    station.run = cell.run  # type: ignore[method-assign]
    cell.decoder = Decoder(model, scenario, station, baselines.make("top-k"), "none", 1.0)
    return cell


def replace_devices(scenario: Any, device: dict[str, Any]) -> Any:
    """The scenario with one group of devices."""
    from wdmoe_env import load_scenario

    return load_scenario(scenario, devices=[device], host=None)


def _try(cell: Cell, row: Row, device: int, deadline: float) -> None:
    """Strike a device, generate, end the fault, and see that the device is used again."""
    end, before, struck = _strike(cell, row.fault, device), len(cell.runs), cell.proxies[device].struck
    cell.decoder.generate([5, 80, 33, 9], 3, 2, 0.0, 0)
    row.times += 1
    runs = cell.runs[before:]
    answered = {call.outcome for _, done, _ in runs for call in done.calls if call.device == device}
    row.struck += cell.proxies[device].struck > struck or answered != {"answered"}
    row.layers += len(runs)
    row.again += sum(max(call.attempt for call in done.calls) > 1 for _, done, _ in runs)
    for order, done, seconds in runs:
        attempts = max(call.attempt for call in done.calls)
        row.slowest_s = max(row.slowest_s, seconds)
        row.hung += seconds > attempts * deadline + MARGIN_S
        error = _error(cell, order, done)
        row.error = max(row.error, error)
        row.wrong += not error <= CLOSE
    end()
    until = time.perf_counter() + 30.0
    while not cell.station.living.all() and time.perf_counter() < until:
        cell.station.tend(0.05)
    before = len(cell.runs)
    cell.decoder.generate([5, 80, 33, 9, 60, 70, 80, 90, 100, 110], 1, 2, 0.0, 0)
    row.back += any(call.device == device for _, done, _ in cell.runs[before:] for call in done.calls)
    cell.runs.clear()


def _error(cell: Cell, order: Any, done: Any) -> float:
    """Largest error of a layer, as a share of the largest value of the reference."""
    import torch

    weights = order.rescore(done.selection)
    with torch.inference_mode():
        expected = cell.reference(order.layer, list(cell.reference.numbers), order.rows, weights)
    return float((done.out - expected).abs().max() / expected.abs().max().clamp_min(1e-6))


def _strike(cell: Cell, kind: str, device: int) -> Callable[[], None]:
    """Begin a fault; return what ends it."""
    process = cell.local.processes[device]
    if kind in FAULTS:
        proxy = cell.proxies[device]
        proxy.fault, proxy.once = kind, kind != "slow"

        def pass_on() -> None:
            proxy.fault = None

        return pass_on
    if kind == "stop":
        process.send_signal(signal.SIGSTOP)
        return lambda: process.send_signal(signal.SIGCONT)
    if kind == "kill":
        process.kill()
    elif kind == "wrong key":
        other = cell.folder / "other-key"
        other.write_bytes(b"0" * 64)
        other.chmod(0o600)
        cell.local.restart(device, key=other)
    else:
        other = cell.folder / "other-model"
        if not other.exists():
            _other_model(other, cell)
        cell.local.restart(device, model=other)
    return lambda: cell.local.restart(device)


def _other_model(folder: Path, cell: Cell) -> None:
    """A copy of the model in which one weight of each expert is another."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(cell.local._model, folder)
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        for name, tensor in tensors.items():
            if ".experts." in name:
                tensor.view(-1)[0] += 1.0
        save_file(tensors, path, metadata={"format": "pt"})


def random_model(folder: Path) -> Path:
    """Write a Mixtral of a few thousand random weights, 8 experts in each of 3 layers."""
    import torch
    import transformers

    kind: Any = transformers.MixtralConfig
    sizes = {"hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 3, "vocab_size": 259}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}
    torch.manual_seed(0)
    config = kind(**sizes, **heads, num_local_experts=8, num_experts_per_tok=2, initializer_range=0.3)
    transformers.MixtralForCausalLM(config).save_pretrained(folder)
    return folder


class _Thread:
    """An event loop in a thread, for the proxies."""

    def __enter__(self) -> _Thread:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        return self

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
