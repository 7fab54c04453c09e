"""The base station: sends the tokens of a layer to the devices that hold their experts, and waits for the slowest."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from wdmoe_env.arrays import BoolArray, IntArray
from wdmoe_env.system.availability import OnFailure, reassign
from wdmoe_env.testbed.kernel import KernelLinks
from wdmoe_env.testbed.layer import CallRecord, LayerRun, Order, Outcome
from wdmoe_env.testbed.link import Link, LinkError, Pending
from wdmoe_env.testbed.messages import Call, Dtype
from wdmoe_env.testbed.shaping import new_loop
from wdmoe_env.testbed.tensors import check_finite, decode, encode, quantise, row_bytes

LOG: Final = logging.getLogger(__name__)
DEADLINE_S: Final = 10.0


@dataclass(frozen=True)
class _Part:
    """What one device is asked for: `chosen` (n, M) says which of its M `experts` the tokens `index` (n,) use."""

    device: int
    index: IntArray
    experts: IntArray
    chosen: BoolArray
    call: Call
    parts: tuple[bytes | memoryview, ...]

    @property
    def bytes_down(self) -> int:
        """Bytes of the call's payload."""
        return sum(map(len, self.parts))


@dataclass(frozen=True)
class _Done:
    """What became of a part: its record, and the (n, H) rows of its answer, if there is one."""

    part: _Part
    record: CallRecord
    rows: Tensor | None


class Station:
    """All devices of a cell, from the base station's side; runs its event loop while a layer is run.

    Args:
        links: one for each device.
        hosts: (E,) the device that hosts each expert.
        dtype: of activations on the wire.
        deadline_s: seconds that the devices of a layer have to answer, each attempt.
        on_failure: what becomes of tokens whose device is gone.
        kernel: links through the kernel, where it has them.
    """

    def __init__(
        self,
        links: Sequence[Link],
        hosts: IntArray,
        dtype: Dtype = "float16",
        deadline_s: float = DEADLINE_S,
        on_failure: OnFailure = "next-best",
        kernel: KernelLinks | None = None,
    ) -> None:
        self.kernel = kernel
        self.links, self.hosts, self.dtype = tuple(links), np.asarray(hosts), dtype
        self.deadline_s, self.on_failure = deadline_s, on_failure
        self.loop = new_loop()
        self._run, self._next = secrets.randbelow(2**31), 0
        self._own = [np.flatnonzero(self.hosts == device) for device in range(len(self.links))]
        self._connecting = set[asyncio.Task[None]]()

    @property
    def living(self) -> BoolArray:
        """(U,) whether each device is there now."""
        return np.array([link.state == "up" for link in self.links])

    def open(self, wait_s: float = 10.0) -> None:
        """Connect to every device; those that do not listen yet are tried again for `wait_s` seconds.

        Raises:
            LinkError: one cannot be reached, or is not who it should be; names each.
        """
        self.loop.run_until_complete(self._open(wait_s))

    async def _open(self, wait_s: float) -> None:
        faults = await asyncio.gather(*(self._persist(link, time.perf_counter() + wait_s) for link in self.links))
        if found := [fault for fault in faults if fault]:
            raise LinkError("; ".join(found))

    async def _persist(self, link: Link, until: float) -> str:
        """Try until a time; return what is wrong then."""
        while link.state != "up":
            try:
                await link.connect()
            except LinkError as error:
                if time.perf_counter() >= until or not isinstance(error.__cause__, ConnectionError | TimeoutError):
                    return str(error)
                await asyncio.sleep(0.1)
        return ""

    def close(self) -> None:
        """Leave the devices, which go on listening."""
        for task in self._connecting:
            task.cancel()
        for link in self.links:
            link.close()
        # Aborted transports say so in the loop's next turn.
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def __enter__(self) -> Station:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def warm_up(self, rounds: int = 3, tokens: int = 16) -> list[CallRecord]:
        """Have each device compute nothing in particular in each layer: first calls take longer than all after them.

        Returns what the calls took, by which links can be estimated before anything was asked for.
        """
        found = list[CallRecord]()
        layers, width = self.links[0].expected.layers, self.links[0].expected.hidden
        experts, share = len(self.hosts), 1.0 / max(map(len, self._own))
        every = np.ones((tokens, experts), dtype=bool)
        for layer in [*range(layers)] * rounds:
            rows, weights = torch.zeros((tokens, width)), torch.full((tokens, experts), share)
            order = Order(0, layer, rows, weights, every, np.full(every.shape, 1.0 / experts), _unchanged)
            found += self.run(order).calls
        return found

    def tend(self, seconds: float = 0.0) -> None:
        """Let devices come back that are due, for so long."""
        self.loop.run_until_complete(self._tend(seconds))

    async def _tend(self, seconds: float) -> None:
        self._rejoin()
        await asyncio.sleep(seconds)

    def _rejoin(self) -> None:
        """Begin to connect to devices that are due; they are there from the next layer on."""
        now = time.perf_counter()
        for link in self.links:
            if link.state == "down" and now >= link.retry_at:
                task = self.loop.create_task(_try(link))
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)

    def run(self, order: Order) -> LayerRun:
        """Run a layer.

        Raises:
            NoDeviceLeftError: no device is left for a token.
        """
        return self.loop.run_until_complete(self._layer(order))

    async def _layer(self, order: Order) -> LayerRun:
        start = time.perf_counter()
        self._rejoin()
        # One turn of the loop: news of connections that were lost since.
        await asyncio.sleep(0)
        selection, weights, answered = order.selection, order.weights, np.zeros_like(order.selection)
        out, device_s, calls = torch.zeros(order.rows.shape), np.zeros(len(self.links)), list[CallRecord]()
        usable = np.ones(len(self.links), dtype=bool)
        while True:
            living = (self.living & usable)[self.hosts]
            kept = reassign(order.gate_weights, selection, living, answered, self.on_failure)
            if (kept != selection).any():
                before, selection, weights = weights, kept, order.rescore(kept)
                out *= _ratio(weights, before, answered)
            if (answered == selection).all():
                break
            attempt = 1 + (calls[-1].attempt if calls else 0)
            for done in await self._ask(order, self._parts(order, selection & ~answered, weights, attempt), start):
                part = done.part
                calls.append(done.record)
                if done.rows is None:
                    # Not in this layer again, or one that fails at once would be asked without end.
                    usable[part.device] = False
                    continue
                out.index_add_(0, torch.from_numpy(part.index), done.rows)
                answered[part.index[:, None], part.experts] |= part.chosen
                device_s[part.device] = done.record.total_s
        lost = float(order.gate_weights[order.selection & ~selection].sum())
        return LayerRun(out, selection, device_s, time.perf_counter() - start, lost, tuple(calls))

    def _parts(self, order: Order, wanted: BoolArray, weights: Tensor, attempt: int) -> Iterator[_Part]:
        """The call of each device that is needed, from (T, E) choices that are still to be computed."""
        width = order.rows.shape[1]
        padded = order.pace.padded_bytes if order.pace else 0
        quantised, by_expert = quantise(order.rows, self.dtype), weights.numpy()
        for device, own in enumerate(self._own):
            mine = wanted[:, own]
            index, used = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
            if not index.size:
                continue
            chosen, experts, tokens = mine[index][:, used], own[used], len(index)
            by: Any = np.where(chosen, by_expert[index[:, None], experts], np.float32(0.0))
            padding = max(0, tokens * (padded - row_bytes(self.dtype, width)))
            held = 0.0
            if order.pace and order.pace.hold:
                counts = np.zeros(len(self.hosts))
                counts[experts] = chosen.sum(axis=0)
                held = float(order.pace.hold(counts)[device])
            self._next += 1
            call = Call(
                run=self._run,
                forward=order.forward,
                layer=order.layer,
                attempt=attempt,
                id=self._next,
                experts=experts.tolist(),
                tokens=tokens,
                dtype=self.dtype,
                padding=padding,
                hold_s=held,
                uplink_bit_s=float(order.pace.up_bit_s[device]) if order.pace else 0.0,
            )
            rows = torch.from_numpy(index)
            taken = quantised if tokens == len(order.rows) else [part.index_select(0, rows) for part in quantised]
            nothing = (bytes(padding),) if padding else ()
            parts = (*encode(taken), memoryview(by).cast("B"), *nothing)
            yield _Part(device, index, experts, chosen, call, parts)

    async def _ask(self, order: Order, parts: Iterable[_Part], start: float) -> list[_Done]:
        """Call the devices, all at once, and wait for them until the deadline."""
        rates = order.pace.down_bit_s if order.pace else np.zeros(len(self.links))
        # Each is sent as soon as it is made: a device begins while the next one's call is put together.
        pending = [
            (part, self.links[part.device].begin(part.call, part.parts, float(rates[part.device]))) for part in parts
        ]
        await asyncio.wait([each.future for _, each in pending], timeout=self.deadline_s)
        late = {part.device for part, each in pending if not each.future.done()}
        for device in late:
            self.links[device].drop(f"no answer within the deadline of {self.deadline_s:g} s")
        return [self._done(part, each, part.device in late, start) for part, each in pending]

    def _done(self, part: _Part, pending: Pending, late: bool, start: float) -> _Done:
        """What became of a part; what no device may send closes its connection."""
        call, link = part.call, self.links[part.device]
        asked: dict[str, Any] = {
            "forward": call.forward,
            "layer": call.layer,
            "attempt": call.attempt,
            "device": part.device,
            "tokens": call.tokens,
            "experts": len(call.experts),
            "pairs": int(part.chosen.sum()),
            "bytes_down": part.bytes_down,
            "start_s": pending.began - start,
        }
        try:
            answer = link.finish(pending)
            rows = decode(answer.payload, call.tokens, link.expected.hidden, call.dtype)
            check_finite(rows)
        except OSError as error:
            if link.state == "up":
                link.drop(str(error))
            LOG.warning("layer %d: device %s: %s", call.layer, link.peer.name, link.fault)
            outcome: Outcome = "deadline" if late else "failed"
            record = CallRecord(outcome=outcome, bytes_up=0, total_s=time.perf_counter() - start, **asked)
            return _Done(part, record, None)
        reply = answer.reply
        record = CallRecord(
            outcome="answered",
            bytes_up=len(answer.payload),
            total_s=answer.last - start,
            send_s=answer.sent - pending.began,
            uplink_s=answer.last - answer.first,
            load=reply.load,
            **{name: getattr(reply, name) for name in _DEVICE_TIMES},
            **asked,
        )
        return _Done(part, record, rows)


_DEVICE_TIMES: Final = ("receive_s", "queue_s", "copy_in_s", "compute_s", "copy_out_s", "hold_s")


def _unchanged(selection: BoolArray) -> Tensor:
    return torch.from_numpy(selection).float()


async def _try(link: Link) -> None:
    try:
        await link.connect()
    except LinkError as error:
        LOG.info("%s", error)
    else:
        LOG.warning("device %s is back", link.peer.name)


def _ratio(after: Tensor, before: Tensor, answered: BoolArray) -> Tensor:
    """(T, 1) by what answered sums change as weights are renormalised: the largest answered expert tells it best."""
    known = torch.from_numpy(answered)
    own = torch.where(known, before, -1.0)
    best = own.argmax(dim=1, keepdim=True)
    old, new = before.gather(1, best), after.gather(1, best)
    return torch.where(known.any(dim=1, keepdim=True) & (old > 0.0), new / old.clamp_min(1e-38), 1.0)
