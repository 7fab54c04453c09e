"""A unit of work, what comes of it, and the pool that runs units: what local processes and Ray have in common."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import cloudpickle


class PoolError(Exception):
    """A pool cannot be had, or is lost; the message says what is at fault and what helps."""


class UnitError(Exception):
    """A unit failed in a way that it does not foresee; the message names it, its place and its traceback."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A value that many units take as an argument, which travels to each process or node once.

    Attributes:
        key: what a pool knows it by.
    """

    key: int


@dataclass(frozen=True, slots=True)
class Unit:
    """A plain function and its arguments: what runs in one process is what runs in another.

    Attributes:
        name: what progress and errors call it; no two of a pool have the same.
        function: of a module that can be imported wherever it runs.
        arguments: anything that can be pickled; a `Shared` among them stands for its value.
        talks: whether the function takes a `Line` before its arguments.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    talks: bool = False


class Line(Protocol):
    """What a running unit has of whoever started it."""

    def tell(self, message: Any) -> None:
        """Say something, without waiting."""

    def ask(self, message: Any) -> Any:
        """Say something, and wait for the answer."""

    def stop(self) -> str | None:
        """The signal by which the units were asked to stop, such as SIGTERM; None if they were not."""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a unit.

    Attributes:
        unit: its name.
        kind: `done` with its value; `failed` with a `Failure`; `lost`, its process or node died; `told` and `asked`
            with a message, the latter waits for `Pool.answer`.
        value: as `kind` says.
    """

    unit: str
    kind: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class Failure:
    """What a unit raised.

    Attributes:
        error: the exception; None where it cannot travel.
        trace: its traceback as text.
        place: process or node.
    """

    error: Exception | None
    trace: str
    place: str

    def raised(self, unit: str, expected: tuple[type[Exception], ...]) -> Exception:
        """What whoever started the unit raises: the exception itself where it is `expected`, else a `UnitError`."""
        if isinstance(self.error, expected):
            return self.error
        return UnitError(f"{unit} failed on {self.place}:\n{self.trace.rstrip()}")


class Pool(Protocol):
    """Runs units, as many at once as it has room for.

    Attributes:
        size: how many at once.
        near: whether the paths of this machine hold wherever units run.
    """

    @property
    def size(self) -> int: ...

    @property
    def near(self) -> bool: ...

    def share(self, value: Any) -> Shared:
        """Hold a value that many units take."""

    def start(self, unit: Unit) -> None:
        """Run a unit as soon as there is room. One that was lost may be started again."""

    def events(self, timeout_s: float) -> list[Event]:
        """What happened since the last call; waits for something to happen, at most that long.

        Raises:
            PoolError: the pool is lost.
        """

    def answer(self, unit: str, reply: Any) -> None:
        """Answer a unit that asked."""

    def stop(self, reason: str) -> list[str]:
        """Tell running units to stop, by the signal of that name, and drop waiting ones; returns the latter's names."""

    def facts(self) -> dict[str, Any]:
        """Which pool this is, for saved configurations."""

    def __enter__(self) -> Pool: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all that still runs; nothing stays behind."""


def outcome_of(unit: Unit, arguments: Sequence[Any], line: Line, place: str) -> tuple[str, Any]:
    """Run a unit where it is: `done` with its value, or `failed` with a `Failure`."""
    try:
        return "done", unit.function(*((line,) if unit.talks else ()), *arguments)
    except Exception as error:  # whatever a unit may raise is told to whoever started it
        return "failed", Failure(_portable(error), traceback.format_exc(), place)


def _portable(error: Exception) -> Exception | None:
    """The exception, if it can travel."""
    try:
        copy = cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:  # an exception of somebody else may hold anything
        return None
    return copy if type(copy) is type(error) else None


def results(
    pool: Pool,
    units: Sequence[Unit],
    expected: tuple[type[Exception], ...],
    done: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run units to their end and return their values by name; one that is lost is run again.

    Args:
        pool: where.
        units: what.
        expected: exceptions that are raised here as they were there.
        done: called with each unit's name at its end.

    Raises:
        UnitError: a unit raised something else.
        PoolError: the pool is lost, or a unit was lost `TRIES` times.
    """
    by_name, found = {unit.name: unit for unit in units}, dict[str, Any]()
    lost = dict.fromkeys(by_name, 0)
    for unit in units:
        pool.start(unit)
    while len(found) < len(by_name):
        for event in pool.events(LOOK_S):
            if event.kind == "failed":
                raise event.value.raised(event.unit, expected)
            if event.kind == "done":
                found[event.unit] = event.value
                done(event.unit)
            elif event.kind == "lost":
                lost[event.unit] += 1
                if lost[event.unit] == TRIES:
                    raise PoolError(f"{event.unit} was lost {TRIES} times: whatever runs it dies, perhaps of memory")
                pool.start(by_name[event.unit])
    return found


LOOK_S = 1.0
"""Seconds after which a pool is looked at again, whatever happens."""
TRIES = 3
"""How often a unit may be lost before that is taken for its own fault."""
