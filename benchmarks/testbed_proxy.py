"""Between a base station and a device: a proxy that forwards frames, and breaks what it is told to break."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Literal, get_args

from wdmoe_env.testbed.messages import PREFIX

Fault = Literal["stall", "close", "garbage", "twice", "slow"]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
SLOW_S: Final = 0.15
"""Seconds that an answer is held back on a slow link."""


class Proxy:
    """Listens in the place of a device.

    Attributes:
        fault: what becomes of the next answers: `stall`: never sent; `close`: the connection closes; `garbage`: other
            bytes come; `twice`: sent twice; `slow`: sent later. None: they are forwarded.
        once: whether the fault is over once it has struck.
        struck: how often it has.
    """

    def __init__(self, host: str, port: int) -> None:
        self._device = host, port
        self.fault: Fault | None = None
        self.once = True
        self.struck = 0
        self._tasks = set[asyncio.Task[None]]()

    async def listen(self) -> tuple[str, int]:
        """Listen on loopback; return where."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        return host, port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, forth = await asyncio.open_connection(*self._device)
        except OSError:
            writer.close()
            return
        both = [asyncio.ensure_future(work) for work in (_copy(reader, forth), self._frames(back, writer))]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
        for end in (writer, forth):
            with contextlib.suppress(OSError):
                end.transport.abort()

    async def _frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                prefix = await reader.readexactly(PREFIX.size)
                _, header, payload = PREFIX.unpack(prefix)
                frame = prefix + await reader.readexactly(header + payload)
                # A handshake has no payload: it is let through.
                fault = self.fault if payload else None
                if fault is not None:
                    self.struck += 1
                    self.fault = None if self.once else fault
                if fault == "stall":
                    await asyncio.Event().wait()
                if fault == "close":
                    return
                if fault == "slow":
                    await asyncio.sleep(SLOW_S)
                writer.write(b"\xa5" * len(frame) if fault == "garbage" else frame * (2 if fault == "twice" else 1))
                await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
