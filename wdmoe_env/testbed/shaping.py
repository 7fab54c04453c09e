"""Links at the rate of a simulated channel: bytes leave so that the last one does when the channel would be done.

Sleeping is by `select`, whose timeouts are microseconds: `epoll`, asyncio's own choice, rounds them up to milliseconds.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import Final

import numpy as np

from wdmoe_env.testbed.messages import PREFIX

PIECES: Final = 16
"""Pieces at most that a frame is sent in where it is paced: receivers see bytes come in, as on a slow link."""
LEAST_PIECE_S: Final = 2e-3


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers are as fine as the clock."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def sleep_until(moment: float) -> None:
    """Sleep until `time.perf_counter` is at `moment`."""
    if (left := moment - time.perf_counter()) > 0.0:
        await asyncio.sleep(left)


async def send_paced(transport: asyncio.WriteTransport, parts: list[bytes | memoryview], bit_s: float) -> float:
    """Write the bytes of a frame so that they take as long as at `bit_s`; return when the last one left.

    Its first bytes leave at once, so that the other side sees how long the frame is on its way; each other piece is
    written at the end of the time that it takes.

    Raises:
        ConnectionError: the connection has closed meanwhile.
    """
    start, data = time.perf_counter(), memoryview(b"".join(parts))
    seconds, done = 8.0 * len(data) / bit_s, PREFIX.size
    transport.write(data[:done])
    pieces = max(1, min(PIECES, int(seconds / LEAST_PIECE_S)))
    for end in np.linspace(done, len(data), pieces + 1).astype(int).tolist()[1:]:
        await sleep_until(start + seconds * end / len(data))
        if transport.is_closing():
            raise ConnectionResetError("the connection closed while a frame was sent")
        transport.write(data[done:end])
        done = end
    return time.perf_counter()
