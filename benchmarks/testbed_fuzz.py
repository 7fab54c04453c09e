"""Fuzzed frames: broken, cut, stretched and random ones, to a device and to a base station.

Half of them go to a device's process, before and after the handshake; half come from a device as answers to a base
station. Each must bring a named error or a closed connection, or be a frame that is right after all; nothing may crash,
and no memory may be lost.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import asyncio
import logging
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import harness
from benchmarks.testbed_faults import random_model

KINDS: Final = ("bits", "bytes", "cut", "longer", "sizes", "random", "header")
COLUMNS: Final = ("to", "frames", "closed", "error in words", "right after all", "incomplete", "memory, MiB", "alive")
PATIENCE_S: Final = 0.05
"""Seconds that an answer to a frame is waited for; a frame that is cut has none."""


@dataclass(frozen=True)
class Options(harness.Options):
    """How much is tried."""

    frames: int = 20_000
    """In all."""
    seed: int = 0
    """Of what is broken."""


@dataclass(frozen=True)
class Row:
    """What came of the frames to one side; memory is what the process has grown by over the second half of them."""

    to: str
    frames: int
    closed: int
    named: int
    right: int
    incomplete: int
    grown_mib: float
    alive: bool


def main(options: Options) -> None:
    logging.disable(logging.WARNING)
    if options.frames < 2:
        raise ValueError(f"frames is {options.frames}, expected at least 2")
    with harness.Report(options, COLUMNS) as report:
        for row in measure(options):
            counts = [f"{count:,}" for count in (row.frames, row.closed, row.named, row.right, row.incomplete)]
            report.add(asdict(row), [row.to, *counts, f"{row.grown_mib:+.1f}", "yes" if row.alive else "no"])


def measure(options: Options) -> list[Row]:
    """Fuzz both sides."""
    from wdmoe_env.testbed.local import LocalDevices
    from wdmoe_env.testbed.shares import ExpertFiles

    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as name:
        model = random_model(Path(name) / "model")
        files = ExpertFiles(model)
        with LocalDevices(model, [files.experts]) as local:
            device = asyncio.run(_to_device(local, files, rng, options.frames // 2))
    return [device, asyncio.run(_to_station(rng, options.frames - options.frames // 2))]


def mutated(frame: bytes, rng: np.random.Generator) -> bytes:
    """A frame that is broken in one of several ways."""
    kind, data = KINDS[rng.integers(len(KINDS))], bytearray(frame)
    if kind == "bits":
        for place in rng.integers(8 * len(data), size=rng.integers(1, 9)):
            data[place // 8] ^= 1 << (place % 8)
    elif kind == "bytes":
        start = int(rng.integers(len(data)))
        data[start : start + int(rng.integers(1, 40))] = rng.bytes(int(rng.integers(1, 40)))
    elif kind == "cut":
        del data[int(rng.integers(len(data))) :]
    elif kind == "longer":
        data += rng.bytes(int(rng.integers(1, 200)))
    elif kind == "sizes":
        data[4:12] = rng.bytes(8)
    elif kind == "random":
        data = bytearray(rng.bytes(int(rng.integers(1, 300))))
    else:
        end = 12 + int.from_bytes(data[4:8], "big")
        place = int(rng.integers(12, end))
        data[place] = int(rng.integers(256))
    return bytes(data)


async def _to_device(local: Any, files: Any, rng: np.random.Generator, count: int) -> Row:
    from wdmoe_env.testbed import keys
    from wdmoe_env.testbed.messages import VERSION, Call, Hello, Proof, head

    address, process = local.addresses[0], local.processes[0]
    found: Counter[str] = Counter()
    payload = bytes(2 * files.hidden * 3 + 4 * 3)
    call = head(Call(1, 0, 0, 1, 1, [2], 3, "float16"), len(payload)) + payload
    half = memory = 0.0
    for index in range(count):
        if index == count // 2:
            half = _memory_mib(process.pid)
        reader, writer = await asyncio.open_connection(*address)
        own = keys.nonce()
        hello = head(Hello(VERSION, own))
        if index % 3:
            writer.write(hello)
            challenge = (await _frame(reader))[0]
            proof = head(Proof(keys.prove(local.key, b"station", own, challenge.nonce), ""))
            if index % 3 == 1:
                data = mutated(proof, rng)
            else:
                writer.write(proof)
                await _frame(reader)
                data = mutated(call, rng)
        else:
            data = mutated(hello, rng)
        writer.write(data)
        found[await _outcome(reader)] += 1
        writer.transport.abort()
    memory = _memory_mib(process.pid) - half
    alive = process.poll() is None
    return Row("device", count, found["closed"], found["named"], found["right"], found["incomplete"], memory, alive)


async def _outcome(reader: asyncio.StreamReader) -> str:
    from wdmoe_env.testbed.messages import Failure, Refusal

    try:
        message = (await asyncio.wait_for(_frame(reader), PATIENCE_S))[0]
    except TimeoutError:
        return "incomplete"
    except (asyncio.IncompleteReadError, OSError):
        return "closed"
    return "named" if isinstance(message, Refusal | Failure) else "right"


async def _frame(reader: asyncio.StreamReader) -> tuple[Any, bytes]:
    from wdmoe_env.testbed.messages import PREFIX, decode_header

    _, header, payload = PREFIX.unpack(await reader.readexactly(PREFIX.size))
    return decode_header(await reader.readexactly(header)), await reader.readexactly(payload)


async def _to_station(rng: np.random.Generator, count: int) -> Row:
    from wdmoe_env.testbed.link import Link
    from wdmoe_env.testbed.messages import Call, Reply, head
    from wdmoe_env.testbed.peer import Expected, Peer
    from wdmoe_env.testbed.tensors import check_finite, decode

    times = dict.fromkeys(("receive_s", "queue_s", "copy_in_s", "compute_s", "copy_out_s", "hold_s", "load"), 0.0)

    async def device(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _shake_hands(reader, writer)
        try:
            while True:
                call = (await _frame(reader))[0]
                reply = Reply(run=call.run, id=call.id, tokens=3, dtype="float16", padding=0, **times)
                writer.write(mutated(head(reply, 96) + bytes(96), rng))
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    server = await asyncio.start_server(device, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    link, found, half = Link(Peer("odd", host, port), Expected((0,), 1, 16)), Counter[str](), 0.0
    for index in range(count):
        if index == count // 2:
            half = _memory_mib(os.getpid())
        if link.state != "up":
            await link.connect()
        pending = link.begin(Call(1, 0, 0, 1, index, [0], 3, "float16"), [bytes(96 + 12)])
        await asyncio.wait([pending.future], timeout=PATIENCE_S)
        try:
            answer = link.finish(pending)
            check_finite(decode(answer.payload, 3, 16, "float16"))
            found["right"] += 1
        except OSError as error:
            # The error of a link says why; one that says nothing would count as closed.
            found["incomplete" if link.state == "up" else "named" if str(error).strip() else "closed"] += 1
            link.drop("a frame that was broken")
    grown = _memory_mib(os.getpid()) - half
    server.close()
    return Row("base station", count, found["closed"], found["named"], found["right"], found["incomplete"], grown, True)


async def _shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    from wdmoe_env.testbed import keys
    from wdmoe_env.testbed.messages import VERSION, Challenge, Welcome, head

    hello, own = (await _frame(reader))[0], keys.nonce()
    writer.write(head(Challenge(VERSION, own, keys.prove(b"", b"device", hello.nonce, own), False)))
    await _frame(reader)
    writer.write(head(Welcome("odd", "0" * 64, "0" * 64, [0], 1, 16, 10**6, "cpu")))


def _memory_mib(process: int) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024.0
    raise ValueError(f"process {process} is gone")


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
