"""Frames as they come in and go out: a connection that reads them without copying large payloads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from wdmoe_env.testbed.messages import (
    MAGIC,
    MAX_HEADER,
    MAX_PAYLOAD,
    PREFIX,
    VERSION,
    AnyMessage,
    WireError,
    decode_header,
    head,
)

STAGE_BYTES: Final = PREFIX.size + MAX_HEADER
"""What is read at once, unless a large payload is due: a whole header at least."""


class Frame(msgspec.Struct, frozen=True):
    """A whole frame as it came in.

    Attributes:
        message: its header.
        payload: its bytes; a view that nobody else writes to.
        first, last: when its first and its last byte came, seconds of `time.perf_counter`.
    """

    message: AnyMessage
    payload: memoryview
    first: float
    last: float


class FrameProtocol(asyncio.BufferedProtocol):
    """Reads frames off a connection and hands each on.

    Small frames are read whole, as they come; what is left of a large payload goes straight into a buffer of its own.

    Args:
        on_frame: called with each frame; a `WireError` that it raises closes the connection.
        on_close: called once, with the reason, when the connection is gone.
        limit: bytes of a payload at most; may be changed while the connection lasts.
        on_open: called once the connection stands; only then is `on_close` called, too.
    """

    def __init__(
        self,
        on_frame: Callable[[Frame], None],
        on_close: Callable[[Exception], None],
        limit: int = MAX_PAYLOAD,
        on_open: Callable[[], None] | None = None,
    ) -> None:
        self.limit = limit
        self.transport: asyncio.Transport | None = None
        self._on_frame, self._on_close, self._on_open = on_frame, on_close, on_open
        self._stage, self._staged = memoryview(bytearray(STAGE_BYTES)), 0
        self._large: tuple[AnyMessage, memoryview] | None = None
        self._filled = 0
        self._first: float | None = None
        self._fault: WireError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._on_open is not None:
            self._on_open()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._on_close(self._fault or error or ConnectionResetError("the other side closed the connection"))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._stage[self._staged :] if self._large is None else self._large[1][self._filled :]

    def buffer_updated(self, count: int) -> None:
        """Bytes have come."""
        if self._fault is not None:
            return
        now = time.perf_counter()
        try:
            if self._large is None:
                self._staged += count
                self._read_stage(now)
            else:
                self._filled += count
                if self._filled == len(self._large[1]):
                    (message, payload), self._large = self._large, None
                    self._hand_on(message, payload, now)
        except WireError as error:
            self.fail(error)

    def _read_stage(self, now: float) -> None:
        """Take all whole frames out of what was read, and begin a payload that is too large for it."""
        start, end = 0, self._staged
        while end - start >= PREFIX.size and self._fault is None:
            self._first = now if self._first is None else self._first
            header, size = self._check_prefix(self._stage[start : start + PREFIX.size])
            body = start + PREFIX.size + header
            if body > end:
                break
            message = decode_header(self._stage[start + PREFIX.size : body])
            # Its own memory: the next bytes go where this stands.
            payload = memoryview(bytearray(size))
            have = min(size, end - body)
            payload[:have] = self._stage[body : body + have]
            start = body + have
            if have < size:
                self._large, self._filled = (message, payload), have
                break
            self._hand_on(message, payload, now)
        if end > start and self._first is None:
            self._first = now
        self._stage[: end - start] = bytes(self._stage[start:end])
        self._staged = end - start

    def _check_prefix(self, prefix: memoryview) -> tuple[int, int]:
        magic, header, payload = PREFIX.unpack(prefix)
        if magic != MAGIC:
            raise WireError(
                f"a frame begins with {magic!r}, expected {MAGIC!r}: is this a testbed of version {VERSION}?"
            )
        if not 0 < header <= MAX_HEADER:
            raise WireError(f"a header has {header:,} bytes, expected 1 to {MAX_HEADER:,}")
        if payload > self.limit:
            raise WireError(f"a payload has {payload:,} bytes, expected at most {self.limit:,}")
        return header, payload

    def _hand_on(self, message: AnyMessage, payload: memoryview, now: float) -> None:
        first, self._first = self._first, None
        self._on_frame(Frame(message, payload, now if first is None else first, now))

    def fail(self, error: WireError) -> None:
        """Close the connection for what came over it."""
        self._fault = error
        if self.transport is not None:
            self.transport.abort()

    def send(self, message: AnyMessage, *parts: bytes | memoryview) -> None:
        """Send a frame at once.

        Raises:
            ConnectionError: the connection is gone.
        """
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        size = sum(len(part) for part in parts)
        self.transport.writelines([head(message, size), *parts])
