"""The base station's side of one device: connecting, proving, calling, and telling old answers from new."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from wdmoe_env.testbed import keys
from wdmoe_env.testbed.messages import (
    MAX_PAYLOAD,
    VERSION,
    Call,
    Challenge,
    Failure,
    Hello,
    Proof,
    Refusal,
    Reply,
    Welcome,
    WireError,
    head,
)
from wdmoe_env.testbed.peer import Expected, Peer
from wdmoe_env.testbed.shaping import send_paced
from wdmoe_env.testbed.wire import Frame, FrameProtocol

LOG: Final = logging.getLogger(__name__)
CONNECT_S: Final = 5.0
"""Seconds that a connection and its handshake may take."""
FIRST_RETRY_S: Final = 0.2
MOST_RETRY_S: Final = 5.0
Wanted = TypeVar("Wanted")
State = Literal["down", "connecting", "up"]


class LinkError(ConnectionError):
    """A device cannot be reached, is not who it should be, or does not answer; the message names it."""


@dataclass(frozen=True)
class Answer:
    """What came back of a call.

    Attributes:
        reply: its header.
        payload: its bytes.
        first, last: when its first and last byte came, `time.perf_counter`.
        sent: when the last byte of the call was handed over.
    """

    reply: Reply
    payload: memoryview
    first: float
    last: float
    sent: float


@dataclass
class Pending:
    """A call that was sent, or is being sent.

    Attributes:
        call: its header.
        future: what comes back.
        began: when it began to be sent.
        sent: when its last byte was handed over; 0 until then.
        sender: the task that paces it, if it is paced.
    """

    call: Call
    future: asyncio.Future[Frame]
    began: float
    sent: float = 0.0
    sender: asyncio.Task[None] | None = None


class Link:
    """One device, as the base station sees it.

    Attributes:
        peer: where it is.
        state: `up` after the handshake.
        fault: why it is down, for messages.
        welcome: what the device said of itself.
        stale: answers to calls that nobody waits for any more, dropped.
        joined: handshakes that succeeded.
    """

    def __init__(self, peer: Peer, expected: Expected, max_payload: int = MAX_PAYLOAD) -> None:
        self.peer, self.expected = peer, expected
        self.state: State = "down"
        self.fault = "not connected yet"
        self.welcome: Welcome | None = None
        self.stale = self.joined = 0
        self.retry_at, self._retry_s = 0.0, FIRST_RETRY_S
        self._max_payload = max_payload
        self._protocol: FrameProtocol | None = None
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self._greeting: asyncio.Future[Frame] | None = None

    async def connect(self) -> None:
        """Connect and shake hands; afterwards the link is up.

        Raises:
            LinkError: it cannot be reached, or is not who it should be.
        """
        self.state = "connecting"
        try:
            await asyncio.wait_for(self._shake_hands(), CONNECT_S)
        except (OSError, ValueError, TimeoutError, asyncio.CancelledError) as error:
            self.drop(_said(error))
            if isinstance(error, asyncio.CancelledError):
                raise
            raise self._error(self.fault) from error
        self.state, self.joined, self._retry_s = "up", self.joined + 1, FIRST_RETRY_S

    async def _shake_hands(self) -> None:
        loop, peer = asyncio.get_running_loop(), self.peer
        made = FrameProtocol(self._frame, lambda reason: self._lost(made, reason), 0)
        self._protocol = made
        named = peer.host if peer.tls else None
        await loop.create_connection(lambda: made, peer.host, peer.port, ssl=peer.tls, server_hostname=named)
        _pin_congestion_control(made)
        own = keys.nonce()
        challenge = await self._ask(Hello(VERSION, own), Challenge)
        if challenge.version != VERSION:
            raise ValueError(f"it speaks version {challenge.version}, expected {VERSION}")
        if challenge.keyed != bool(peer.key):
            raise ValueError(
                "it has a key and none was given" if challenge.keyed else "it has no key, expected the one given"
            )
        if not keys.proves(challenge.proof, peer.key, b"device", own, challenge.nonce):
            raise ValueError("it does not know the key")
        proof = keys.prove(peer.key, b"station", own, challenge.nonce)
        welcome = await self._ask(Proof(proof, self.expected.model), Welcome)
        self.expected.check(welcome)
        self.welcome, made.limit = welcome, self._max_payload

    async def _ask(self, message: Hello | Proof, wanted: type[Wanted]) -> Wanted:
        assert self._protocol is not None
        self._greeting = asyncio.get_running_loop().create_future()
        self._protocol.send(message)
        answer = (await self._greeting).message
        if isinstance(answer, Refusal):
            raise ValueError(f"it refuses: {answer.reason}")
        if not isinstance(answer, wanted):
            raise WireError(f"it sent a {type(answer).__name__}, expected a {wanted.__name__}")
        return answer

    def _frame(self, frame: Frame) -> None:
        message = frame.message
        if self.state == "connecting":
            if self._greeting is None or self._greeting.done():
                raise WireError(f"a {type(message).__name__} came that was not asked for")
            self._greeting.set_result(frame)
            return
        if not isinstance(message, Reply | Failure):
            raise WireError(f"a {type(message).__name__} came, expected a Reply")
        waiting = self._waiting.pop(message.id, None)
        if waiting is None or waiting.done():
            self.stale += 1
            LOG.info("device %s: an answer to call %d, which nobody waits for", self.peer.name, message.id)
        else:
            waiting.set_result(frame)

    def _lost(self, protocol: FrameProtocol, reason: Exception) -> None:
        # That of a connection before is no news.
        if protocol is self._protocol:
            self.drop(_said(reason))

    def drop(self, reason: str) -> None:
        """Close the connection and let everyone who waits know why; it is tried again later."""
        protocol, self._protocol = self._protocol, None
        self.state, self.fault = "down", reason
        self.retry_at = time.perf_counter() + self._retry_s
        self._retry_s = min(2.0 * self._retry_s, MOST_RETRY_S)
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abort()
        error = self._error(reason)
        waiting, self._waiting = self._waiting, {}
        for future in [*waiting.values(), *([self._greeting] if self._greeting else [])]:
            if not future.done():
                future.set_exception(error)
                future.exception()  # seen: nobody need wait for it
        self._greeting = None

    def begin(self, call: Call, parts: Sequence[bytes | memoryview], bit_s: float = 0.0) -> Pending:
        """Send a call, at once or paced to `bit_s` if that is not 0; what comes back is awaited elsewhere.

        Raises:
            ValueError: the device takes no payload of this size.
        """
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        pending = Pending(call, future, time.perf_counter())
        protocol = self._protocol
        if self.state != "up" or protocol is None:
            future.set_exception(self._error(self.fault))
            return pending
        size = sum(len(part) for part in parts)
        if self.welcome is not None and size > self.welcome.max_payload:
            most = self.welcome.max_payload
            raise ValueError(
                f"a call of device {self.peer.name} has {size:,} bytes, and it takes {most:,} at most: "
                "start it with a larger --max-payload, or read fewer tokens at once"
            )
        self._waiting[call.id] = future
        try:
            if bit_s:
                frame = [head(call, size), *parts]
                pending.sender = asyncio.get_running_loop().create_task(self._send(protocol, frame, bit_s, pending))
            else:
                protocol.send(call, *parts)
                pending.sent = time.perf_counter()
        except OSError as error:
            self.drop(_said(error))
        return pending

    async def _send(
        self, protocol: FrameProtocol, frame: list[bytes | memoryview], bit_s: float, pending: Pending
    ) -> None:
        assert protocol.transport is not None
        try:
            pending.sent = await send_paced(protocol.transport, frame, bit_s)
        except OSError as error:
            if protocol is self._protocol:
                self.drop(_said(error))

    def finish(self, pending: Pending) -> Answer:
        """The answer to a call, whose future is done or given up.

        Raises:
            LinkError: there is none, the device is gone, or answers with nothing that fits.
        """
        call, future = pending.call, pending.future
        self._waiting.pop(call.id, None)
        if pending.sender is not None:
            pending.sender.cancel()
        if not future.done():
            future.cancel()
            raise self._error(self.fault)
        frame = future.result()
        reply = frame.message
        if isinstance(reply, Failure):
            self.drop(f"it cannot answer: {reply.reason}")
            raise self._error(self.fault)
        assert isinstance(reply, Reply)  # by _frame
        wanted = call.run, call.tokens, call.dtype, call.padding
        if (reply.run, reply.tokens, reply.dtype, reply.padding) != wanted:
            self.drop("its answer is to another call than its number says")
            raise self._error(self.fault)
        return Answer(reply, frame.payload, frame.first, frame.last, pending.sent or frame.first)

    def _error(self, reason: str) -> LinkError:
        return LinkError(f"device {self.peer.name} at {self.peer.address}: {reason}")

    def close(self) -> None:
        """Close for good."""
        self.drop("closed")


def _pin_congestion_control(protocol: FrameProtocol) -> None:
    # Where the system allows it. TCP_NODELAY is set by asyncio itself.
    assert protocol.transport is not None
    sock = protocol.transport.get_extra_info("socket")
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    except (OSError, AttributeError):
        LOG.debug("congestion control cannot be set to cubic")


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_S:g} s"
    return " ".join(str(error).split()) or type(error).__name__
