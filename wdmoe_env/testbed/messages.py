"""What is said on the wire: headers in msgpack, each by its tag. docs/reference/testbed-wire.md has it byte by byte.

A frame is the prefix `!4sII` (magic, bytes of the header, bytes of the payload), the header and the payload. A header
is one of the messages below, by its tag. Nothing in a frame is executed, and nothing is asked for that is larger than
what the receiver allows.
"""

from __future__ import annotations

import struct
from typing import Annotated, Final, Literal

import msgspec

VERSION: Final = 1
MAGIC: Final = b"WDM1"
PREFIX: Final = struct.Struct("!4sII")
MAX_HEADER: Final = 64 * 1024
MAX_PAYLOAD: Final = 64 * 2**20
"""Bytes of a payload at most, unless a receiver says another."""
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
