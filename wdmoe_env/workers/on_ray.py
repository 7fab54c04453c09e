"""Units on the nodes of a Ray cluster: one that is joined, or one of this machine's own that ends with the pool.

A unit is a task, see `in_ray`; what it says on its line goes through one small actor beside the head, which holds it by
value: a node that dies takes nothing along that was said.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import time
from collections import deque
from threading import Thread, current_thread, main_thread
from types import TracebackType
from typing import Any

import cloudpickle

from wdmoe_env.source_tree import HOME, NAMES
from wdmoe_env.workers.in_ray import POLL_S, Post, Setup, ray_module, run_task
from wdmoe_env.workers.units import Event, Failure, PoolError, Shared, Unit

CLOSE_S = 5.0
"""How long a cluster that is lost may take to be left."""
SEE_S, SILENT_S = 2.0, 10.0
"""How often the head is looked for, and how long it may not answer, in seconds."""
HEAD = "node:__internal_head__"
"""A resource that Ray gives the node that all others have joined."""
SHIPPED = (*NAMES, "wdmoe_env", "benchmarks", *(f"{name}.py" for name in NAMES))
"""What travels of a checkout."""


class RayPool:
    """A pool of Ray's.

    Args:
        address: of a cluster, such as ray://HOST:10001 or HOST:6379; None: a cluster of this machine's cores.
        jobs: how many units run at once; None: one for each core of the cluster.

    Raises:
        PoolError: Ray is not installed, or the cluster cannot be reached.
    """

    near = False

    def __init__(self, address: str | None, jobs: int | None) -> None:
        self._ray, self._address = ray_module(), address
        self._waiting, self._running = deque[Unit](), dict[Any, Unit]()
        self._refs = list[Any]()
        self._post: Any = None
        self._connect(jobs)
        self._head, self._seen = self._place_of_head(), time.monotonic()
        self._silent_since: float | None = None
        cores = int(self._ray.cluster_resources().get("CPU", 0))
        self.size = min(jobs, cores) if jobs else cores
        if self.size < 1:
            self._ray.shutdown()
            raise PoolError(f"the Ray cluster at {address} has no core to give")
        self._setup = self._ray.put(cloudpickle.dumps(Setup.here()))
        self._task = self._ray.remote(num_cpus=1, max_retries=0)(run_task)

    def share(self, value: Any) -> Shared:
        self._refs.append(self._ray.put(cloudpickle.dumps(value)))
        return Shared(len(self._refs) - 1)

    def start(self, unit: Unit) -> None:
        self._waiting.append(unit)
        self._fill()

    def events(self, timeout_s: float) -> list[Event]:
        until = time.monotonic() + timeout_s
        try:
            self._look()
            while not (found := self._heard() + self._ended(min(POLL_S, timeout_s))) and time.monotonic() < until:
                pass
        except self._ray.exceptions.RaySystemError as error:
            raise PoolError(f"the Ray cluster is lost: {error}") from error
        self._fill()
        return found

    def answer(self, unit: str, reply: Any) -> None:
        self._ray.get(self._post.answer.remote(unit, cloudpickle.dumps(reply)))

    def stop(self, reason: str) -> list[str]:
        waiting = [unit.name for unit in self._waiting]
        self._waiting.clear()
        if self._post is not None:
            self._ray.get(self._post.stop.remote(reason))
        return waiting

    def facts(self) -> dict[str, Any]:
        nodes = sum(node["Alive"] for node in self._ray.nodes())
        return {
            "on": "ray",
            "ray": self._ray.__version__,
            "nodes": nodes,
            "at_once": self.size,
            "platform": platform.platform(),
        }

    def __enter__(self) -> RayPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closing = Thread(target=self._close, daemon=True)
        closing.start()
        # Of a cluster that is lost Ray may wait for an answer.
        closing.join(None if self._silent_since is None else CLOSE_S)

    def _close(self) -> None:
        if self._silent_since is None:
            for ref in self._running:
                self._ray.cancel(ref, force=True)
        self._ray.shutdown()

    def _look(self) -> None:
        """See that the head still answers; Ray itself ends this process 60 seconds after it does not."""
        if time.monotonic() < self._seen + SEE_S:
            return
        self._seen = time.monotonic()
        try:
            socket.create_connection(self._head, SEE_S).close()
            self._silent_since = None
        except OSError as error:
            self._silent_since = self._silent_since or self._seen
            if self._seen > self._silent_since + SILENT_S:
                raise PoolError(f"the Ray cluster is lost: {self._head[0]}:{self._head[1]}: {error}") from error

    def _connect(self, jobs: int | None) -> None:
        local = {"address": "local", "num_cpus": jobs or _cores(), "include_dashboard": False}
        where: dict[str, Any] = {"address": self._address} if self._address else local
        before = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(**where, runtime_env=_code(), log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ImportError, RuntimeError, ValueError, TimeoutError) as error:
            reason = str(error).strip().partition("\n")[0]
            hint = "; is it there, and does it ask for a token (RAY_AUTH_MODE=token)?" if self._address else ""
            raise PoolError(f"no Ray cluster at {self._address or 'this machine'}: {reason}{hint}") from error
        # Ray takes SIGTERM for itself; whoever heeds it goes on to do so.
        if callable(before) and current_thread() is main_thread():
            signal.signal(signal.SIGTERM, before)

    def _place_of_head(self) -> tuple[str, int]:
        """Host and port of Ray's client server, where that is the way in, else of the head itself."""
        through = self._address if self._address and self._address.startswith("ray://") else None
        place: str = through or self._ray.get_runtime_context().gcs_address
        host, _, port = place.removeprefix("ray://").rpartition(":")
        return host.strip("[]"), int(port)

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self.size:
            unit = self._waiting.popleft()
            if unit.talks and self._post is None:
                self._post = self._ray.remote(num_cpus=0, resources={HEAD: 0.001})(Post).remote()
            shared = [self._refs[one.key] for one in unit.arguments if isinstance(one, Shared)]
            ref = self._task.remote(self._setup, self._post, cloudpickle.dumps(unit), *shared)
            self._running[ref] = unit

    def _heard(self) -> list[Event]:
        """What running units have said."""
        if self._post is None:
            return []
        running = {unit.name for unit in self._running.values()}
        said = self._ray.get(self._post.take.remote())
        return [Event(unit, kind, cloudpickle.loads(value)) for unit, kind, value in said if unit in running]

    def _ended(self, timeout_s: float) -> list[Event]:
        if not self._running:
            time.sleep(timeout_s)
            return []
        ready, _ = self._ray.wait(list(self._running), timeout=timeout_s)
        # What was said before the end is heard before it.
        return self._heard() + [self._end(ref) for ref in ready]

    def _end(self, ref: Any) -> Event:
        unit, errors = self._running.pop(ref), self._ray.exceptions
        try:
            return Event(unit.name, *cloudpickle.loads(self._ray.get(ref)))
        except errors.RuntimeEnvSetupError as error:
            raise PoolError(f"a Ray node cannot be made ready: {error}") from error
        except errors.RayTaskError as error:
            return Event(unit.name, "failed", Failure(None, str(error), "a Ray node"))
        except errors.RayError:
            return Event(unit.name, "lost")


def _code() -> dict[str, Any]:
    """The runtime environment: one thread a unit, and a checkout's packages; a wheel is installed on every node."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    root = HOME.parent
    if not (root / "agents").is_dir():
        return {"env_vars": threads}
    others = [f"/{entry.name}" for entry in root.iterdir() if entry.name not in SHIPPED]
    return {"env_vars": threads, "working_dir": str(root), "excludes": [*others, "__pycache__"]}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
