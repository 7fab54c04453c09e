"""A device: listens, proves that it knows the key, and answers calls for the experts that it holds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import time
from dataclasses import dataclass
from typing import Final

import msgspec

from wdmoe_env.testbed import keys
from wdmoe_env.testbed.experts import Experts
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
from wdmoe_env.testbed.shaping import send_paced, sleep_until
from wdmoe_env.testbed.tensors import decode, decode_weights, encode, quantise, row_bytes
from wdmoe_env.testbed.wire import Frame, FrameProtocol

LOG: Final = logging.getLogger(__name__)
HANDSHAKE_S: Final = 5.0
"""Seconds that a connection has to prove that it knows the key."""
STRANGERS: Final = 16
"""Connections at most that have not done so yet."""
STRANGER_BYTES: Final = 0
"""Bytes of a payload that they may send."""


@dataclass(frozen=True)
class Identity:
    """Who a device is.

    Attributes:
        name: what records call it.
        key: pre-shared with the base station; empty: whoever connects may use it.
        max_payload: bytes of a frame's payload at most.
    """

    name: str
    key: bytes = b""
    max_payload: int = MAX_PAYLOAD


class Device:
    """Serves the experts that it holds to base stations. State: none but its connections.

    Args:
        experts: what it holds.
        identity: who it is.
    """

    def __init__(self, experts: Experts, identity: Identity) -> None:
        self.experts, self.identity = experts, identity
        self.strangers, self.load = 0, _Load()
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> tuple[str, int]:
        """Listen; return the address, whose port was chosen by the system if it is 0.

        Raises:
            OSError: the address cannot be listened at.
        """
        loop = asyncio.get_running_loop()
        patience = HANDSHAKE_S if tls else None
        self._server = await loop.create_server(
            lambda: _Connection(self).protocol, host, port, ssl=tls, ssl_handshake_timeout=patience
        )
        found: tuple[str, int] = self._server.sockets[0].getsockname()[:2]
        return found

    async def serve(self) -> None:
        """Serve until cancelled."""
        assert self._server is not None
        await self._server.serve_forever()

    def welcome(self) -> Welcome:
        """What it says of itself to who knows the key."""
        held = self.experts
        return Welcome(
            name=self.identity.name,
            model=held.model,
            share=held.share,
            experts=list(held.numbers),
            layers=held.layers,
            hidden=held.hidden,
            max_payload=self.identity.max_payload,
            compute=str(held.device),
        )


class _Connection:
    """One base station at a device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._hello: tuple[bytes, bytes] | None = None
        self._known = False
        self._calls: asyncio.Queue[tuple[Call, Frame]] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.protocol = FrameProtocol(self._frame, self._close, STRANGER_BYTES, self._open)

    def _open(self) -> None:
        self._device.strangers += 1
        if self._device.strangers > STRANGERS:
            self._refuse("too many connections that have not proved themselves")
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_S, self._late)

    def _late(self) -> None:
        if not self._known:
            self._refuse(f"no proof of the key within {HANDSHAKE_S:g} s")

    def _close(self, reason: Exception) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._known:
            self._device.strangers -= 1
        if self._worker is not None:
            self._worker.cancel()
        LOG.info("connection closed: %s", reason)

    def _refuse(self, reason: str) -> None:
        if self.protocol.transport is not None and not self.protocol.transport.is_closing():
            self.protocol.send(Refusal(reason))
            self.protocol.transport.close()

    def _frame(self, frame: Frame) -> None:
        message = frame.message
        if self._known:
            if not isinstance(message, Call):
                raise WireError(f"a {type(message).__name__} came, expected a Call")
            self._call(message, frame)
        elif isinstance(message, Hello) and self._hello is None:
            self._challenge(message)
        elif isinstance(message, Proof) and self._hello is not None:
            self._admit(message, *self._hello)
        else:
            raise WireError(
                f"a {type(message).__name__} came, expected a {'Hello' if self._hello is None else 'Proof'}"
            )

    def _challenge(self, hello: Hello) -> None:
        if hello.version != VERSION:
            self._refuse(f"the base station speaks version {hello.version}, this device {VERSION}")
            return
        own, key = keys.nonce(), self._device.identity.key
        self._hello = hello.nonce, own
        proof = keys.prove(key, b"device", hello.nonce, own)
        self.protocol.send(Challenge(VERSION, own, proof, bool(key)))

    def _admit(self, proof: Proof, station_nonce: bytes, own: bytes) -> None:
        if not keys.proves(proof.proof, self._device.identity.key, b"station", station_nonce, own):
            self._refuse("the base station does not know the key")
            return
        if proof.model and proof.model != self._device.experts.model:
            self._refuse(
                f"this device holds experts of model {self._device.experts.model:.12}, not of {proof.model:.12}"
            )
            return
        self._known, self.protocol.limit = True, self._device.identity.max_payload
        self._device.strangers -= 1
        self.protocol.send(self._device.welcome())

    def _call(self, call: Call, frame: Frame) -> None:
        if self._worker is None and not (call.hold_s or call.uplink_bit_s):
            # Nothing to wait for: no other task need be woken.
            self._answer_now(call, frame)
            return
        if self._calls is None:
            self._calls = asyncio.Queue()
            self._worker = asyncio.get_running_loop().create_task(self._work(self._calls))
        self._calls.put_nowait((call, frame))

    async def _work(self, calls: asyncio.Queue[tuple[Call, Frame]]) -> None:
        """Answer calls one after the other, at the pace of an emulated device, until the connection is gone."""
        with contextlib.suppress(ConnectionResetError):
            while True:
                await self._work_on(*await calls.get())

    async def _work_on(self, call: Call, frame: Frame) -> None:
        try:
            reply, parts = self._compute(call, frame)
        except ValueError as error:
            self._fail(call, error)
            return
        except WireError as error:
            self.protocol.fail(error)
            return
        if call.hold_s:
            began = time.perf_counter()
            await sleep_until(frame.last + call.hold_s)
            reply = msgspec.structs.replace(reply, hold_s=time.perf_counter() - began)
        transport = self.protocol.transport
        if call.uplink_bit_s and transport is not None:
            size = sum(map(len, parts))
            await send_paced(transport, [head(reply, size), *parts], call.uplink_bit_s)
        else:
            self.protocol.send(reply, *parts)

    def _answer_now(self, call: Call, frame: Frame) -> None:
        try:
            reply, parts = self._compute(call, frame)
        except ValueError as error:
            self._fail(call, error)
        else:
            self.protocol.send(reply, *parts)

    def _fail(self, call: Call, error: Exception) -> None:
        self.protocol.send(Failure(call.run, call.id, f"{error}"[:1000]))

    def _compute(self, call: Call, frame: Frame) -> tuple[Reply, list[bytes | memoryview]]:
        """The reply to a call and its payload.

        Raises:
            ValueError: the call names a layer or an expert that is not here.
            WireError: its payload is not what its header says.
        """
        began, held = time.perf_counter(), self._device.experts
        if unknown := [expert for expert in call.experts if expert not in held.numbers]:
            raise ValueError(f"device {self._device.identity.name} holds no expert {unknown[0]}")
        if call.layer >= held.layers:
            raise ValueError(
                f"device {self._device.identity.name} has {held.layers} layers, not one of index {call.layer}"
            )
        size = call.tokens * row_bytes(call.dtype, held.hidden)
        expected = size + 4 * call.tokens * len(call.experts) + call.padding
        if len(frame.payload) != expected:
            raise WireError(f"a call has {len(frame.payload):,} bytes of payload, expected {expected:,}")
        rows = decode(frame.payload, call.tokens, held.hidden, call.dtype)
        weights = decode_weights(frame.payload[size:], call.tokens, len(call.experts))
        decoded = time.perf_counter()
        out, (copy_in, compute, copy_out) = held.timed(call.layer, call.experts, rows, weights)
        computed = time.perf_counter()
        parts: list[bytes | memoryview] = [*encode(quantise(out, call.dtype))]
        if call.padding:
            parts.append(bytes(call.padding))
        done = time.perf_counter()
        reply = Reply(
            run=call.run,
            id=call.id,
            tokens=call.tokens,
            dtype=call.dtype,
            padding=call.padding,
            receive_s=frame.last - frame.first,
            queue_s=began - frame.last,
            copy_in_s=decoded - began + copy_in,
            compute_s=compute,
            copy_out_s=copy_out + done - computed,
            hold_s=0.0,
            load=self._device.load(),
        )
        return reply, parts


class _Load:
    """Share of the processors that were busy over the last minute, as the system says; 0 where it does not."""

    def __init__(self) -> None:
        self._value, self._until = 0.0, 0.0

    def __call__(self) -> float:
        """The share, looked up once a second: it changes no faster."""
        if (now := time.monotonic()) > self._until:
            self._until = now + 1.0
            try:
                self._value = min(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
            except (OSError, AttributeError):
                self._value = 0.0
        return self._value
