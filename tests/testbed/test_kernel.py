"""Links through the kernel: real namespaces and token buckets, where this process may make them."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("msgspec")

from support.miniature import save_bytes
from support.testbed import small_cell

import baselines
from wdmoe_env.testbed import kernel
from wdmoe_env.testbed.cluster import find_testbed, opened
from wdmoe_env.testbed.kernel import KernelLinks
from wdmoe_env.testbed.passes import Decoder
from wdmoe_env.testbed.shares import ExpertFiles
from wdmoe_env.testbed.split_model import load_split

possible = pytest.mark.skipif(bool(reason := kernel.why_not()), reason=f"links through the kernel: {reason}")


@possible
@pytest.mark.slow
def test_a_model_over_links_of_the_kernel(tmp_path: Path) -> None:
    folder = save_bytes(tmp_path)
    scenario = small_cell(ExpertFiles(folder), 3, devices=2, radio={"bandwidth_hz": 2e6})
    testbed = find_testbed("local:2", "kernel", 1.0)
    before = namespaces()
    with opened(testbed, folder, scenario) as station:
        assert len(namespaces() - before) == 2
        decoder = Decoder(load_split(folder), scenario, station, baselines.make("top-k"), "kernel", 1.0)
        decoder.generate([5, 99, 120, 7], 6, 4, 0.0, 0)
    assert namespaces() == before
    took, predicted = (sum(getattr(r, what) for r in decoder.records) for what in ("measured", "predicted"))
    assert took > 0.5 * predicted


def namespaces() -> set[str]:
    return set(subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split("\n"))


@possible
def test_rates_are_held() -> None:
    links = KernelLinks(1)
    try:
        links.set_rates(np.array([[4e6], [4e6]]))
        listener = subprocess.Popen(
            ["python3", "-c", RECEIVER, links.host(0)], preexec_fn=links.enter(0), stdout=subprocess.PIPE, text=True
        )
        assert listener.stdout is not None
        listener.stdout.readline()

        with socket.create_connection((links.host(0), 7171), 10.0) as stream:
            begin = time.perf_counter()
            stream.sendall(bytes(200_000))
            stream.shutdown(socket.SHUT_WR)
            assert stream.recv(1) == b"."
            seconds = time.perf_counter() - begin
        listener.wait(10.0)
        listener.stdout.close()
    finally:
        links.close()
    # 1.6 Mbit at 4 Mbit/s.
    assert 0.3 < seconds < 0.8


RECEIVER = """
import socket, sys
server = socket.create_server((sys.argv[1], 7171))
print("ready", flush=True)
stream, _ = server.accept()
while stream.recv(1 << 16):
    pass
stream.sendall(b".")
"""


def test_what_keeps_it_from_working_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert kernel.why_not() in ("they need root", "pyroute2 is not installed: pip install 'wdmoe-env[kernel]'")
    with pytest.raises(RuntimeError, match="links through the kernel cannot be made"):
        KernelLinks(2)
    with pytest.raises(ValueError, match="--links kernel: "):
        find_testbed("local:2", "kernel", 1.0)
    with pytest.raises(ValueError, match="makes links on this machine"):
        find_testbed("cluster.yaml", "kernel", 1.0)
