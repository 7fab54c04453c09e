"""Frames: what is sent comes in, and what is no frame closes the connection by a named error."""

from __future__ import annotations

import asyncio
import struct

import pytest

msgspec = pytest.importorskip("msgspec")

from hypothesis import given
from hypothesis import strategies as st

from wdmoe_env.testbed import messages
from wdmoe_env.testbed.messages import Call, Hello, Refusal, WireError, head
from wdmoe_env.testbed.wire import Frame, FrameProtocol


class Receiver:
    """A `FrameProtocol` that is fed bytes."""

    def __init__(self, limit: int = 1000) -> None:
        self.frames: list[Frame] = []
        self.aborted = False
        self.protocol = FrameProtocol(self.frames.append, lambda error: None, limit)
        receiver = self

        class Transport(asyncio.Transport):
            def abort(self) -> None:
                receiver.aborted = True

            def is_closing(self) -> bool:
                return receiver.aborted

        self.protocol.connection_made(Transport())

    def take_in(self, data: bytes, at_once: int = 10**9) -> None:
        while data and not self.aborted:
            buffer = self.protocol.get_buffer(-1)
            count = min(len(buffer), len(data), at_once)
            buffer[:count] = data[:count]
            self.protocol.buffer_updated(count)
            data = data[count:]


CALL = Call(run=1, forward=2, layer=3, attempt=1, id=7, experts=[0, 4], tokens=5, dtype="float16")


@pytest.mark.parametrize("at_once", [1, 7, 10**9])
def test_frames_come_in_whatever_the_pieces(at_once: int) -> None:
    receiver = Receiver()
    payload = bytes(range(200))
    receiver.take_in(head(CALL, 200) + payload + head(Hello(1, bytes(32))) + head(CALL, 200) + payload, at_once)
    assert [type(frame.message) for frame in receiver.frames] == [Call, Hello, Call]
    assert [bytes(frame.payload) for frame in receiver.frames] == [payload, b"", payload]
    assert receiver.frames[0].message == CALL
    assert receiver.frames[0].first <= receiver.frames[0].last


def test_the_prefix_is_as_documented() -> None:
    data = head(Refusal("no"), 3)
    magic, header, payload = struct.unpack("!4sII", data[:12])
    assert (magic, header, payload) == (b"WDM1", len(data) - 12, 3)
    assert msgspec.msgpack.decode(data[12:]) == {"type": "Refusal", "reason": "no"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/1.1\r\n", "begins with b'GET '"),
        (struct.pack("!4sII", b"WDM1", 0, 0), "header has 0 bytes"),
        (struct.pack("!4sII", b"WDM1", 10**6, 0), "header has 1,000,000 bytes"),
        (struct.pack("!4sII", b"WDM1", 10, 1001), "payload has 1,001 bytes, expected at most 1,000"),
        (struct.pack("!4sII", b"WDM1", 3, 0) + b"\xc1\xc1\xc1", "no message of this protocol"),
        (struct.pack("!4sII", b"WDM1", 1, 0) + b"\x80", "no message of this protocol"),
    ],
)
def test_what_is_no_frame_is_named_and_closes(data: bytes, said: str) -> None:
    receiver = Receiver()
    receiver.take_in(data)
    assert receiver.aborted
    assert receiver.frames == []
    with pytest.raises(WireError, match=said):
        raise receiver.protocol._fault or AssertionError("no fault")


@pytest.mark.parametrize(
    "changes", [{"tokens": -1}, {"hold_s": -1.0}, {"hold_s": 1e9}, {"dtype": "float64"}, {"experts": [-3]}, {"more": 1}]
)
def test_values_out_of_range_are_refused(changes: dict[str, object]) -> None:
    fields = {**msgspec.to_builtins(CALL), **changes}
    with pytest.raises(WireError):
        messages.decode_header(msgspec.msgpack.encode(fields))


@given(st.binary(max_size=300))
def test_any_header_is_a_message_or_an_error(data: bytes) -> None:
    receiver = Receiver()
    receiver.take_in(struct.pack("!4sII", b"WDM1", max(1, len(data)), 0) + (data or b"\xc1"))
    assert receiver.aborted != bool(receiver.frames)


@given(st.binary(min_size=12, max_size=300).filter(lambda data: data[:4] != b"WDM1"))
def test_any_other_beginning_closes(data: bytes) -> None:
    receiver = Receiver()
    receiver.take_in(data)
    assert receiver.aborted
    assert not receiver.frames


def test_nothing_is_sent_over_a_closed_connection() -> None:
    receiver = Receiver()
    receiver.protocol.fail(WireError("gone"))
    with pytest.raises(ConnectionResetError, match="closed"):
        receiver.protocol.send(CALL)
