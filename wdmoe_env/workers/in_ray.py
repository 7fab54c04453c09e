"""What runs in the processes of a Ray cluster: a unit, its line, and what makes a process ready.

The one module that imports Ray, when it is needed.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cloudpickle

from wdmoe_env.files.atomic import write_bytes
from wdmoe_env.files.provenance import versions
from wdmoe_env.plugins import VARIABLE, load_plugins
from wdmoe_env.source_tree import HOME
from wdmoe_env.workers.carried import folder
from wdmoe_env.workers.units import PoolError, Shared, outcome_of

INSTALL = "pip install wdmoe-env[cluster]"
POLL_S = 0.2
"""Seconds between two looks at what units say."""
COUNTS = ("python", "wdmoe-env", "numpy", "scipy", "torch", "stable-baselines3")
"""What has to be of the same version everywhere: figures are compared bit for bit."""


@dataclass(frozen=True)
class Setup:
    """What a process needs before the first unit.

    Attributes:
        versions: of what has to be the same.
        plugins: names of modules that register something.
        modules: modules of the working directory that are loaded here, by file name.
    """

    versions: dict[str, str]
    plugins: str
    modules: tuple[tuple[str, bytes], ...]

    @classmethod
    def here(cls) -> Setup:
        """What this process has."""
        files = [Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
        own = {file for file in files if file.parent == Path.cwd() != HOME.parent and file.suffix == ".py"}
        modules = tuple((file.name, file.read_bytes()) for file in sorted(own))
        return cls(_versions(), os.environ.get(VARIABLE, ""), modules)


class Post:
    """Holds what units say until it is fetched, and what is said to them."""

    def __init__(self) -> None:
        self._said = list[tuple[str, str, bytes]]()
        self._answers = dict[str, bytes]()
        self._reason: str | None = None

    def say(self, unit: str, kind: str, value: bytes) -> None:
        self._said.append((unit, kind, value))

    def take(self) -> list[tuple[str, str, bytes]]:
        said, self._said = self._said, []
        return said

    def answer(self, unit: str, reply: bytes) -> None:
        self._answers[unit] = reply

    def answered(self, unit: str) -> bytes | None:
        return self._answers.pop(unit, None)

    def stop(self, reason: str) -> None:
        self._reason = reason

    def stopped(self) -> str | None:
        return self._reason


class PostLine:
    """A unit's line, over the actor."""

    def __init__(self, post: Any, unit: str) -> None:
        self._ray, self._post, self._unit = ray_module(), post, unit

    def tell(self, message: Any) -> None:
        self._say("told", message)

    def ask(self, message: Any) -> Any:
        self._say("asked", message)
        while (reply := self._ray.get(self._post.answered.remote(self._unit))) is None:
            time.sleep(POLL_S)
        return cloudpickle.loads(reply)

    def stop(self) -> str | None:
        reason: str | None = self._ray.get(self._post.stopped.remote())
        return reason

    def _say(self, kind: str, message: Any) -> None:
        # Waited for: what was said is safe then, whatever becomes of this node.
        self._ray.get(self._post.say.remote(self._unit, kind, cloudpickle.dumps(message)))


def run_task(setup: bytes, post: Any, packed: bytes, *shared: bytes) -> bytes:
    """Run a unit in a Ray process; what it returns is read here alone, where its modules can be imported."""
    _ready(setup)
    unit, values = cloudpickle.loads(packed), iter(shared)
    arguments = [cloudpickle.loads(next(values)) if isinstance(one, Shared) else one for one in unit.arguments]
    place = f"node {platform.node()}, process {os.getpid()}"
    return cloudpickle.dumps(outcome_of(replace(unit, arguments=()), arguments, PostLine(post, unit.name), place))


@lru_cache(maxsize=4)
def _ready(packed: bytes) -> None:
    """Get a process ready: modules of one's own, plugins, and a look at versions.

    Raises:
        PoolError: something is of another version here.
    """
    setup: Setup = cloudpickle.loads(packed)
    if other := [name for name, version in _versions().items() if setup.versions.get(name) != version]:
        name, here = other[0], _versions()[other[0]]
        raise PoolError(f"{name} is {here} on node {platform.node()}, expected {setup.versions.get(name)} as here")
    if setup.modules:
        place = folder().name
        for name, content in setup.modules:
            write_bytes(Path(place) / name, content)
        sys.path.insert(0, place)
    load_plugins(setup.plugins)


def _versions() -> dict[str, str]:
    return {name: version for name, version in versions().items() if name in COUNTS}


def ray_module() -> Any:
    """Ray, which tells nobody that it is used.

    Raises:
        PoolError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise PoolError(f"--on ray needs Ray: {INSTALL}") from error
    return ray
