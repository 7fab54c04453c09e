"""The wire: length-prefixed frames of a small msgpack header and raw bytes. docs/testbed.md has it byte by byte.

A frame is the prefix `!4sII` (magic, bytes of the header, bytes of the payload), the header and the payload. A header
is one of the messages below, by its tag. Nothing in a frame is executed, and nothing is asked for that is larger than
what the receiver allows.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec

VERSION: Final = 1
MAGIC: Final = b"WDM1"
PREFIX: Final = struct.Struct("!4sII")
MAX_HEADER: Final = 64 * 1024
MAX_PAYLOAD: Final = 64 * 2**20
"""Bytes of a payload at most, unless a receiver says another."""
STAGE_BYTES: Final = PREFIX.size + MAX_HEADER
"""What is read at once, unless a large payload is due: a whole header at least."""
Dtype = Literal["float16", "float32", "int8"]

Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=1e6)]
Text = Annotated[str, msgspec.Meta(max_length=200)]
Nonce = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Indices = Annotated[list[Count], msgspec.Meta(max_length=4096)]


class WireError(ConnectionError):
    """What came over a connection is no frame of this protocol, or not the one that was due: the connection closes."""


class Message(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of all headers."""


class Hello(Message, frozen=True):
    """Base station, first: its version, and a challenge to prove that the device knows the key."""

    version: Count
    nonce: Nonce


class Challenge(Message, frozen=True):
    """Device: the proof that was asked for, and a challenge of its own. `keyed` says whether it has a key at all."""

    version: Count
    nonce: Nonce
    proof: Nonce
    keyed: bool


class Proof(Message, frozen=True):
    """Base station: its own proof, and the model whose experts it wants. An empty digest wants any."""

    proof: Nonce
    model: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]


class Welcome(Message, frozen=True):
    """Device: what it holds."""

    name: Text
    model: Digest
    share: Digest
    experts: Indices
    layers: Count
    hidden: Count
    max_payload: Count
    compute: Text


class Refusal(Message, frozen=True):
    """Either side: why it closes the connection."""

    reason: Annotated[str, msgspec.Meta(max_length=1000)]


class Call(Message, frozen=True):
    """Base station: tokens for some experts of a device in one layer.

    Attributes:
        run: of the base station, drawn anew by each.
        forward: forward pass, from 0.
        layer: MoE layer, from 0.
        attempt: 1, and one more each time tokens are sent anew.
        id: number of the call on this run; the reply has the same.
        experts: the M experts that are used, rising.
        tokens: T, rows of the payload.
        dtype: of the activations, there and back.
        padding: bytes of nothing behind the rest of the payload, there and back.
        hold_s: seconds from the last byte received to the reply that an emulated device computes.
        uplink_bit_s: rate that the reply is paced to; 0: as the network is.
    """

    run: Count
    forward: Count
    layer: Count
    attempt: Count
    id: Count
    experts: Indices
    tokens: Count
    dtype: Dtype
    padding: Count = 0
    hold_s: Seconds = 0.0
    uplink_bit_s: Annotated[float, msgspec.Meta(ge=0.0, le=1e15)] = 0.0


class Reply(Message, frozen=True):
    """Device: one weighted sum for each token of a call, with the times by its own monotonic clock, seconds.

    Attributes:
        id: that of the call; run likewise.
        receive_s: from the first to the last byte of the call.
        queue_s: until work on it began.
        copy_in_s: decoding, and to the compute device.
        compute_s: of the experts.
        copy_out_s: back, and encoding.
        hold_s: waiting, where a slower device is emulated.
        load: share of the compute that other work takes, 0 to 1.
    """

    run: Count
    id: Count
    tokens: Count
    dtype: Dtype
    padding: Count
    receive_s: Seconds
    queue_s: Seconds
    copy_in_s: Seconds
    compute_s: Seconds
    copy_out_s: Seconds
    hold_s: Seconds
    load: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Failure(Message, frozen=True):
    """Device: a call cannot be answered; the connection stays."""

    run: Count
    id: Count
    reason: Annotated[str, msgspec.Meta(max_length=1000)]


AnyMessage = Hello | Challenge | Proof | Welcome | Refusal | Call | Reply | Failure
_ENCODER, _DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(AnyMessage)


def head(message: AnyMessage, payload_bytes: int = 0) -> bytes:
    """Prefix and header of a frame whose payload follows."""
    header = _ENCODER.encode(message)
    return PREFIX.pack(MAGIC, len(header), payload_bytes) + header


def decode_header(data: bytes | memoryview) -> AnyMessage:
    """The message of a header.

    Raises:
        WireError: it is none.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise WireError(f"a header is no message of this protocol: {error}") from error


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
    """

    def __init__(
        self, on_frame: Callable[[Frame], None], on_close: Callable[[Exception], None], limit: int = MAX_PAYLOAD
    ) -> None:
        self.limit = limit
        self.transport: asyncio.Transport | None = None
        self._on_frame, self._on_close = on_frame, on_close
        self._stage, self._staged = memoryview(bytearray(STAGE_BYTES)), 0
        self._large: tuple[AnyMessage, memoryview] | None = None
        self._filled = 0
        self._first: float | None = None
        self._fault: WireError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

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
