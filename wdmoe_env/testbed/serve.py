"""The command `device`: hold some experts of a model, and answer a base station's calls for them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wdmoe_env.testbed import keys
from wdmoe_env.testbed.local import SAYS
from wdmoe_env.testbed.messages import MAX_PAYLOAD

if TYPE_CHECKING:
    from wdmoe_env.testbed.device import Device


@dataclass(frozen=True)
class Options:
    """Hold some experts of a model, and answer a base station's calls for them, until interrupted."""

    model: Path
    """Folder of the model, or of a share that `split` wrote. Nothing but the experts is read of it."""
    experts: str
    """Numbers of the experts to hold in every layer: 3, 0,4 or 0-7."""
    listen: str = "127.0.0.1:7070"
    """Address and port; port 0 takes a free one and says which."""
    key: Path | None = None
    """File of the key that the base station has, too; without one only this machine may connect."""
    tls: tuple[Path, Path] | None = None
    """Certificate and its key, for TLS."""
    name: str = ""
    """What records call this device; by default the machine's name."""
    device: str = "cpu"
    """Device of torch that computes, such as cpu or cuda."""
    threads: int | None = None
    """Threads that a CPU computes with; by default as torch sees fit."""
    max_payload: int = MAX_PAYLOAD
    """Bytes of a call's payload at most; more is refused."""
    with_parent: bool = False
    """End when standard input is closed: for whoever starts devices as child processes."""
    verbose: bool = False
    """Say when connections come and go, and why."""


def main(options: Options) -> int:
    """Load the experts, listen, serve, and return 0 once interrupted.

    Raises:
        ValueError: an option, the key or the model does not fit.
        OSError: the address cannot be listened at.
    """
    host, port = parse_address(options.listen, "--listen")
    key = keys.read_key(options.key)
    if not key and not _is_loopback(host):
        raise ValueError(
            f"--listen {options.listen} can be reached from other machines: give a --key (make one with `key`)"
        )
    if options.max_payload < 1:
        raise ValueError(f"--max-payload is {options.max_payload}, expected at least 1 byte")
    logging.basicConfig(
        format="%(message)s", level=logging.INFO if options.verbose else logging.WARNING, stream=sys.stderr
    )

    import torch

    from wdmoe_env.testbed.device import Device, Identity
    from wdmoe_env.testbed.experts import Experts
    from wdmoe_env.testbed.shaping import new_loop
    from wdmoe_env.testbed.shares import ExpertFiles, parse_experts

    if options.threads is not None:
        if options.threads < 1:
            raise ValueError(f"--threads is {options.threads}, expected at least 1")
        torch.set_num_threads(options.threads)
    held = Experts(ExpertFiles(options.model), parse_experts(options.experts), options.device)
    tls = keys.device_tls(*options.tls) if options.tls else None
    device = Device(held, Identity(options.name or socket.gethostname(), key, options.max_payload))

    async def serve() -> None:
        at = await device.listen(host, port, tls)
        print(
            f"{device.identity.name}: experts {options.experts} of {options.model.name}, {SAYS}{at[0]}:{at[1]}",
            flush=True,
        )
        await _until_interrupted(device, options.with_parent)

    loop = new_loop()
    try:
        loop.run_until_complete(serve())
    finally:
        loop.close()
    return 0


async def _until_interrupted(device: Device, with_parent: bool) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    if with_parent:
        loop.add_reader(sys.stdin.fileno(), lambda: ended.set() if not os.read(sys.stdin.fileno(), 4096) else None)
    serving = loop.create_task(device.serve())
    await ended.wait()
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def parse_address(text: str, option: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 address stands in brackets.

    Raises:
        ValueError: it is none.

    >>> parse_address("[::1]:7070", "--listen")
    ('::1', 7070)
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise ValueError(f"{option} is {text!r:.80}, expected HOST:PORT, such as 127.0.0.1:7070 or [::1]:7070")
    return host, int(port)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
