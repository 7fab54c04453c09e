"""Units in processes of this machine."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
from collections import deque
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

import cloudpickle

from wdmoe_env.plugins import load_plugins
from wdmoe_env.workers.orphans import end_with
from wdmoe_env.workers.units import Event, Shared, Unit, outcome_of

END_S = 5.0
"""How long a process may take to end before it is killed."""


class LocalPool:
    """A pool of processes, each of which runs one unit after another.

    Args:
        size: how many units run at once.
    """

    near = True

    def __init__(self, size: int) -> None:
        self.size = size
        self._shared = list[bytes]()
        self._waiting, self._workers = deque[Unit](), list[_Worker]()

    def share(self, value: Any) -> Shared:
        self._shared.append(cloudpickle.dumps(value))
        return Shared(len(self._shared) - 1)

    def start(self, unit: Unit) -> None:
        self._waiting.append(unit)
        self._fill()

    def events(self, timeout_s: float) -> list[Event]:
        busy = {worker.line: worker for worker in self._workers if worker.unit is not None}
        found = [event for line in wait(list(busy), timeout_s) for event in self._heard(busy[_connection(line)])]
        self._fill()
        return found

    def answer(self, unit: str, reply: Any) -> None:
        self._send(unit, ("answer", reply))

    def stop(self, reason: str) -> list[str]:
        waiting = [unit.name for unit in self._waiting]
        self._waiting.clear()
        for worker in self._workers:
            if worker.unit is not None:
                worker.send(("stop", reason))
        return waiting

    def facts(self) -> dict[str, Any]:
        return {"on": "processes", "at_once": self.size, "platform": platform.platform()}

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        self._waiting.clear()

    def _fill(self) -> None:
        """Give waiting units to idle processes, and to new ones while there is room."""
        while self._waiting:
            idle = next((worker for worker in self._workers if worker.unit is None), None)
            if idle is None and len(self._workers) < self.size:
                self._workers.append(idle := _Worker())
            if idle is None:
                return
            idle.run(self._waiting.popleft(), self._shared)

    def _heard(self, worker: _Worker) -> list[Event]:
        assert worker.unit is not None
        name = worker.unit
        try:
            kind, value = cloudpickle.loads(worker.line.recv_bytes())
        except (EOFError, OSError):
            self._workers.remove(worker)
            worker.end()
            return [Event(name, "lost")]
        if kind in ("done", "failed"):
            worker.unit = None
        return [Event(name, kind, value)]

    def _send(self, unit: str, message: tuple[str, Any]) -> None:
        for worker in self._workers:
            if worker.unit == unit:
                worker.send(message)


class _Worker:
    """A process, as the one that started it sees it; `unit` is the name of what it runs."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.unit: str | None = None
        self.line, there = context.Pipe()
        self._known = set[int]()
        self._process: BaseProcess = context.Process(target=_serve, args=(there, os.getpid()), daemon=True)
        self._process.start()
        there.close()

    def run(self, unit: Unit, shared: list[bytes]) -> None:
        """Run a unit; shared values that the process does not have yet go with it."""
        new = {one.key for one in unit.arguments if isinstance(one, Shared)} - self._known
        self._known |= new
        self.unit = unit.name
        self.send(("run", (unit, {key: shared[key] for key in new})))

    def send(self, message: tuple[str, Any]) -> None:
        """Send something; to a process that has died nothing is sent, which whoever listens to it finds out."""
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            self.line.send_bytes(cloudpickle.dumps(message))

    def end(self) -> None:
        """End the process at once: what it has not told is lost."""
        self.line.close()
        self._process.terminate()
        self._process.join(END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


class _PipeLine:
    """A unit's line, over the pipe of its process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._reason: str | None = None

    def tell(self, message: Any) -> None:
        self.say("told", message)

    def ask(self, message: Any) -> Any:
        self.say("asked", message)
        while True:
            kind, value = cloudpickle.loads(self._pipe.recv_bytes())
            if kind == "answer":
                return value
            self._reason = value

    def stop(self) -> str | None:
        while self._pipe.poll():
            self._reason = cloudpickle.loads(self._pipe.recv_bytes())[1]
        return self._reason

    def say(self, kind: str, value: Any) -> None:
        """Send an event."""
        self._pipe.send_bytes(cloudpickle.dumps((kind, value)))


def _serve(pipe: Connection, parent: int) -> None:
    """Run units until the pipe closes."""
    # Ctrl-C reaches all processes of a terminal: the one that started this one decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)
    load_plugins()
    shared = dict[int, Any]()
    try:
        while True:
            kind, value = cloudpickle.loads(pipe.recv_bytes())
            if kind == "run":
                unit, new = value
                _run(pipe, unit, new, shared)
    except (EOFError, OSError):
        return


def _run(pipe: Connection, unit: Unit, new: dict[int, bytes], shared: dict[int, Any]) -> None:
    shared |= {key: cloudpickle.loads(value) for key, value in new.items()}
    arguments = [shared[one.key] if isinstance(one, Shared) else one for one in unit.arguments]
    line = _PipeLine(pipe)
    line.say(*outcome_of(replace(unit, arguments=()), arguments, line, f"process {os.getpid()}"))


def _connection(ready: Any) -> Connection:
    assert isinstance(ready, Connection)
    return ready
