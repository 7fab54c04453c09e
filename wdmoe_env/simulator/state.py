"""The simulator's whole state as values: what the future depends on, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.arrays import BoolArray, ComplexArray, FloatArray

State = TypeVar("State")
Frozen = TypeVar("Frozen")


@dataclass(frozen=True, slots=True, eq=False)
class TraceState:
    """Where devices are in the radio logs that they replay.

    Attributes:
        stretch: (N, U) stretch of a log that a device replays.
        clock: (N, U) seconds since its start.
    """

    stretch: NDArray[np.int64]
    clock: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class CellState:
    """Where the devices are, and how their channels and loads stand, in N cells.

    Attributes:
        position: (N, U) complex, m; the base station is at 0.
        velocity: (N, U) complex, m/s.
        sight: (N, U) uniform numbers that line of sight is decided by, see `channel.path_loss_db`.
        shadow: (N, U) shadowing, dB.
        scatter: (N, 2, 2 L, U) scattered amplitudes of both links, downlink first: the real parts of L branches, then
            the imaginary ones.
        background: (N, U) other work's load, in standard deviations from its mean.
        heat: (N, U) from 0 (cold) to 1.
        path_gain: true power gains but for the fading: (N, 2, U), or (N, 1, U) where both links share them.
        gain: (N, 2, U) true power gains, downlink first.
        known_gain: (N, 2, U) gains as the base station knows them.
        average_gain: (N, 2, U) geometric running mean of the known gains, or just these where they are the true ones.
        load: (N, U) share of compute that is taken.
        trace: with recorded gains, where the devices are in them; None without.
        present: (N, U) which devices are there; None where all always are.
    """

    position: ComplexArray
    velocity: ComplexArray
    sight: FloatArray
    shadow: FloatArray
    scatter: FloatArray
    background: FloatArray
    heat: FloatArray
    path_gain: FloatArray
    gain: FloatArray
    known_gain: FloatArray
    average_gain: FloatArray
    load: FloatArray
    trace: TraceState | None
    present: BoolArray | None


@dataclass(frozen=True, slots=True, eq=False)
class ComputeState:
    """What fixes the times of measured experts in this layer.

    Attributes:
        uniform: (N, E) uniform numbers, each the quantile that an expert takes; None without `distribution` devices.
        place: (N, U) row of its recording that a device is at; None without `sequence` devices.
    """

    uniform: FloatArray | None
    place: NDArray[np.int64] | None


@dataclass(frozen=True, slots=True, eq=False)
class SimulatorState:
    """Everything that the future of N cells depends on.

    A step puts other arrays in the place of these, so that a state stays as it is; who asks for one cannot write to it.

    Attributes:
        cell: devices, channels and loads.
        compute: times of measured experts.
        passes: (N,) row of the gate bank's forward passes that each environment replays.
        last_device_time: (N, U) seconds each device took in the step before; 0 at the start.
        step: steps since the episodes began.
        rng: all randomness. A state that `Simulator.state` returned has a Generator of its own.
        cells: digest of what the cells are: a state goes on in the same ones alone.
    """

    cell: CellState
    compute: ComputeState
    passes: NDArray[np.int64]
    last_device_time: FloatArray
    step: int
    rng: np.random.Generator
    cells: str


def arrays_of(value: Any) -> Iterator[NDArray[Any]]:
    """All arrays of a state, or of another dataclass."""
    for name in value.__dataclass_fields__:
        part = getattr(value, name)
        if isinstance(part, np.ndarray):
            yield part
        elif hasattr(part, "__dataclass_fields__"):
            yield from arrays_of(part)


def freeze(value: Frozen) -> Frozen:
    """Make the arrays of a dataclass read-only, and return it."""
    for name in value.__dataclass_fields__:  # type: ignore[attr-defined]
        part = getattr(value, name)
        if isinstance(part, np.ndarray):
            part.setflags(write=False)
        elif hasattr(part, "__dataclass_fields__"):
            freeze(part)
    return value


def with_own_rng(state: SimulatorState) -> SimulatorState:
    """The same state with a copy of its Generator, which nobody else draws from."""
    return replace(state, rng=copy.deepcopy(state.rng))


def to_tree(state: Any) -> dict[str, Any]:
    """A state as nested dicts of arrays, numbers and None by the names of its fields, such as a checkpoint holds."""
    return {field.name: _leaf(getattr(state, field.name)) for field in fields(state)}


def _leaf(value: Any) -> Any:
    if is_dataclass(value):
        return to_tree(value)
    return value.bit_generator.state if isinstance(value, np.random.Generator) else value


def from_tree(tree: Mapping[str, Any], like: State) -> State:
    """The state that `to_tree` made a tree of; `like` is a state of the same type. Arrays and tensors are copied.

    Raises:
        LookupError, TypeError, ValueError: something is missing, or no state of the Generator.
    """
    names = [field.name for field in fields(like)]  # type: ignore[arg-type]
    return type(like)(**{name: _value(tree[name], getattr(like, name)) for name in names})


def _value(value: Any, like: Any) -> Any:
    if is_dataclass(like) and value is not None:
        return from_tree(value, like)
    if isinstance(like, np.random.Generator):
        rng = copy.deepcopy(like)
        rng.bit_generator.state = value
        return rng
    return np.asarray(value).copy() if isinstance(like, np.ndarray) and value is not None else value


def check_form(state: Any, expected: Any, place: str = "state") -> None:
    """Raise a ValueError where a state has not the form of `expected`; it names the field and what was expected."""
    if type(state) is not type(expected):
        raise ValueError(f"{place} is {_form(state)}, expected {_form(expected)}")
    if isinstance(expected, np.ndarray) and (state.shape, state.dtype) != (expected.shape, expected.dtype):
        raise ValueError(f"{place} is {_form(state)}, expected {_form(expected)}")
    if is_dataclass(expected):
        for field in fields(expected):
            check_form(getattr(state, field.name), getattr(expected, field.name), f"{place}.{field.name}")


def _form(value: Any) -> str:
    """What a value looks like, in an error: `(4, 8) float64`, `None`, `int`."""
    if isinstance(value, np.ndarray):
        return f"{value.shape} {value.dtype}"
    return "None" if value is None else type(value).__name__
