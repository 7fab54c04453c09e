"""Types of arrays, by what they hold, and dataclasses of them over N environments; shapes stand in docstrings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import Self

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
GateArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]

SHARED: Final = {"shared": True}
"""Metadata of a `Batch`'s field that all environments have in common."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is known of N environments: arrays of shape (N, ...), other batches, and None."""

    def take(self, rows: IntArray | slice) -> Self:
        """Some of the environments; rows that are listed are copied, those of a slice are not."""
        return type(self)(**{name: _take(getattr(self, name), rows) for name in self._each()}, **self._shared())

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All environments one after the other, from at least one part. What the first part has not, none has."""
        first = parts[0]
        return cls(
            **{name: _join([getattr(part, name) for part in parts]) for name in first._each()}, **first._shared()
        )

    def _each(self) -> list[str]:
        return [field.name for field in fields(self) if field.metadata != SHARED]

    def _shared(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.metadata == SHARED}


def unmasked(value: Any, name: str) -> Any:
    """The value; a mask would be lost in what follows, and is refused.

    Raises:
        ValueError: it is a masked array; the message calls it `name`.
    """
    if np.ma.isMaskedArray(value):
        raise ValueError(f"{name} is a masked array, expected a plain one: {name}.filled(value)")
    return value


def name_of_type(value: Any) -> str:
    """The full name of a value's type, for messages: `torch.Tensor`, `list`."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _take(value: Any, rows: IntArray | slice) -> Any:
    if value is None:
        return None
    return value.take(rows) if isinstance(value, Batch) else value[rows]


def _join(values: list[Any]) -> Any:
    if values[0] is None:
        return None
    return type(values[0]).join(values) if isinstance(values[0], Batch) else np.concatenate(values)
