"""What the testbed costs: a layer over 8 devices without emulation, next to a bare echo of the same bytes.

Both talk to the same 8 processes, which hold one expert each that is so small that it computes next to nothing, and
take turns. Bar: the testbed's median layer takes at most 1.5 times that of the echo.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import harness

DEVICES: Final = 8
INTERMEDIATE: Final = 8
COLUMNS: Final = ("layer", "KiB a device", "echo, ms", "testbed, ms", "times", "95 % interval", "on a device, ms")


@dataclass(frozen=True)
class Row:
    """Medians over layers, seconds."""

    tokens: int
    values: int
    bytes_a_device: float
    echo_s: float
    testbed_s: float
    times: float
    low: float
    high: float
    device_s: float


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    tokens: tuple[int, ...] = (64, 8)
    """Tokens of a layer, two experts each."""
    hidden: tuple[int, ...] = (4096, 256)
    """Values of a token."""
    layers: int = 300
    """Layers of each."""


def main(options: Options) -> None:
    with harness.Report(options, COLUMNS) as report:
        for row in rows(options):
            times = [f"{1e3 * seconds:.3f}" for seconds in (row.echo_s, row.testbed_s)]
            ratio = [f"{row.times:.2f}", f"{row.low:.2f}-{row.high:.2f}", f"{1e3 * row.device_s:.3f}"]
            name = f"{row.tokens} tokens of {row.values} values"
            report.add(asdict(row), [name, f"{row.bytes_a_device / 1024:.1f}", *times, *ratio])


def rows(options: Options) -> Iterator[Row]:
    """One row for each size."""
    for hidden in options.hidden:
        with tempfile.TemporaryDirectory() as name, _children(Path(name), hidden) as addresses:
            for tokens in options.tokens:
                yield _measure(Path(name), addresses, tokens, hidden, options.layers)


def _measure(folder: Path, addresses: list[tuple[int, int]], tokens: int, hidden: int, layers: int) -> Row:
    import torch

    from wdmoe_env.testbed.layer import Order
    from wdmoe_env.testbed.link import Link
    from wdmoe_env.testbed.peer import Expected, Peer
    from wdmoe_env.testbed.shares import ExpertFiles
    from wdmoe_env.testbed.station import Station

    files, rng = ExpertFiles(folder), np.random.default_rng(0)
    links = [
        Link(Peer(f"device {i}", "127.0.0.1", port), Expected((i,), 1, hidden, files.model, files.digest))
        for i, (port, _) in enumerate(addresses)
    ]
    gates = rng.dirichlet(np.ones(DEVICES), size=tokens)
    selection = np.argsort(np.argsort(-gates)) < 2
    weights = torch.from_numpy(np.where(selection, gates, 0.0)).float()
    inputs = torch.from_numpy(rng.standard_normal((tokens, hidden))).float()
    order = Order(0, 0, inputs, weights, selection, gates, lambda kept: weights)
    live, bare, inside = np.zeros(layers), np.zeros(layers), np.zeros(layers)
    with Station(links, np.arange(DEVICES)) as station:
        station.open()
        calls = station.run(order).calls
        sizes = [(call.bytes_down, call.bytes_up) for call in calls]
        echo = _Echo([addresses[call.device][1] for call in calls], sizes)
        for index in range(-20, layers):
            begin = time.perf_counter()
            done = station.run(order)
            middle = time.perf_counter()
            echo.run()
            if index >= 0:
                live[index], bare[index] = middle - begin, time.perf_counter() - middle
                inside[index] = max(c.queue_s + c.copy_in_s + c.compute_s + c.copy_out_s for c in done.calls)
        echo.close()
    ratios = [np.median(live[i]) / np.median(bare[i]) for i in rng.integers(0, layers, (1000, layers))]
    low, high = np.quantile(ratios, [0.025, 0.975])
    echo_s, testbed_s, device_s = (float(np.median(values)) for values in (bare, live, inside))
    down = float(np.mean([down for down, _ in sizes]))
    return Row(tokens, hidden, down, echo_s, testbed_s, testbed_s / echo_s, float(low), float(high), device_s)


class _Echo:
    """The bare echo: as many bytes there and back over asyncio's streams, all devices at once."""

    def __init__(self, ports: list[int], sizes: list[tuple[int, int]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._streams = self._loop.run_until_complete(self._connect(ports))
        self._data = [(down.to_bytes(4, "big") + up.to_bytes(4, "big"), bytes(down), up) for down, up in sizes]

    async def _connect(self, ports: list[int]) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        return [await asyncio.open_connection("127.0.0.1", port, limit=2**24) for port in ports]

    def run(self) -> None:
        self._loop.run_until_complete(self._all())

    async def _all(self) -> None:
        both = zip(self._streams, self._data, strict=True)
        await asyncio.gather(*(self._one(reader, writer, *data) for (reader, writer), data in both))

    async def _one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sizes: bytes, data: bytes, up: int
    ) -> None:
        writer.write(sizes + data)
        await reader.readexactly(up)

    def close(self) -> None:
        for _, writer in self._streams:
            writer.close()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()


@contextlib.contextmanager
def _children(folder: Path, hidden: int) -> Iterator[list[tuple[int, int]]]:
    """The processes: each a device and an echo, by their ports."""
    import torch
    from safetensors.torch import save_file

    names = {
        "gate_proj": (INTERMEDIATE, hidden),
        "up_proj": (INTERMEDIATE, hidden),
        "down_proj": (hidden, INTERMEDIATE),
    }
    tensors = {
        f"model.layers.0.mlp.experts.{expert}.{name}.weight": torch.randn(shape) / hidden
        for expert in range(DEVICES)
        for name, shape in names.items()
    }
    save_file(tensors, folder / "model.safetensors")
    sizes = {"hidden_size": hidden, "intermediate_size": INTERMEDIATE, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(sizes))
    command = [sys.executable, "-m", "benchmarks.testbed_overhead", "--child", str(folder)]
    with contextlib.ExitStack() as stack:
        found = []
        for expert in range(DEVICES):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            child: Any = stack.enter_context(subprocess.Popen([*command, str(expert)], text=True, **pipes))  # type: ignore[call-overload]
            stack.callback(child.kill)
            found.append(child)
        said = [child.stdout.readline().split() for child in found]
        yield [(int(device), int(echo)) for device, echo in said]


async def _child(folder: Path, expert: int) -> None:
    from wdmoe_env.testbed.device import Device, Identity
    from wdmoe_env.testbed.experts import Experts
    from wdmoe_env.testbed.shares import ExpertFiles

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                sizes = await reader.readexactly(8)
                down, up = int.from_bytes(sizes[:4], "big"), int.from_bytes(sizes[4:], "big")
                writer.write((await reader.readexactly(down))[:up])

    device = Device(Experts(ExpertFiles(folder), [expert]), Identity(f"device {expert}"))
    _, port = await device.listen("127.0.0.1", 0)
    server = await asyncio.start_server(echo, "127.0.0.1", 0, limit=2**24)
    print(port, server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


def _run_child(folder: str, expert: str) -> None:
    import torch

    from wdmoe_env.testbed.shaping import new_loop

    torch.set_num_threads(1)
    new_loop().run_until_complete(_child(Path(folder), int(expert)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _run_child(*sys.argv[2:])
    else:
        sys.exit(harness.command(main, Options, __doc__))
