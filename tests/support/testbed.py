"""A testbed within the test's own process: real sockets on loopback, devices in a thread of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("msgspec")
pytest.importorskip("torch")

from wdmoe_env import Scenario, load_scenario
from wdmoe_env.testbed.cluster import links_to, shares_of
from wdmoe_env.testbed.device import Device, Identity
from wdmoe_env.testbed.experts import Experts
from wdmoe_env.testbed.peer import Peer
from wdmoe_env.testbed.shares import ExpertFiles
from wdmoe_env.testbed.station import Station

KEY = b"0123456789abcdef0123456789abcdef"


def small_cell(files: ExpertFiles, top_k: int, devices: int = 4, tokens: int = 8, **overrides: Any) -> Scenario:
    """A cell for a model, as fast as can be: times are of no interest."""
    model = {"layers": files.layers, "experts": len(files.experts), "top_k": top_k, "hidden_size": files.hidden}
    compute = {"kind": "linear", "flops_per_s": 1e12}
    return load_scenario(
        "paper",
        model=model,
        devices=[{"name": "device", "count": devices, "compute": compute}],
        traffic={"tokens": tokens, "passes_per_episode": 3},
        gating={"bank_passes": 4},
        **overrides,
    )


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20.0)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10.0)
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0.01))
        self.loop.close()


@contextmanager
def listening(devices: Sequence[Device], tls: Any = None) -> Iterator[list[tuple[str, int]]]:
    """Devices that listen on loopback while the context is open."""
    loop = Loop()
    try:
        yield [loop.run(device.listen("127.0.0.1", 0, tls)) for device in devices]
    finally:
        loop.close()


@contextmanager
def connected(folder: Path, scenario: Scenario, **options: Any) -> Iterator[Station]:
    """A station whose devices hold the experts of the model in `folder`, as the scenario hosts them."""
    files = ExpertFiles(folder)
    shares = shares_of(scenario.hosts, scenario.num_devices)
    devices = [Device(Experts(files, own), Identity(f"device {i}", KEY)) for i, own in enumerate(shares)]
    with listening(devices) as addresses:
        peers = [Peer(f"device {i}", host, port, KEY) for i, (host, port) in enumerate(addresses)]
        links = links_to(peers, files, shares)
        with Station(links, scenario.hosts, **{"dtype": "float32", **options}) as station:
            station.open()
            yield station
