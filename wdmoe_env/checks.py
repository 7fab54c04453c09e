"""Checks of values against annotations, by pydantic; what is wrong is told as parameter, value and expectation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "a text", type(None): "nothing"}
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)


def check_fields(
    instance: Any, called: Callable[[str], str] = str, error: Callable[[str], Exception] = ValueError
) -> None:
    """Check the values of a dataclass against its annotations: types strictly, and limits (`pydantic.Field`).

    Args:
        instance: the dataclass.
        called: what a message calls a field.
        error: what is raised.

    Raises:
        ValueError: or `error`; names the first field that is wrong, its value and what was expected.
    """
    values = {field.name: getattr(instance, field.name) for field in fields(instance)}
    kind: Any = type(instance)
    check_values(_model(kind), values, called, error)


def check_values(
    model: type[BaseModel],
    values: Mapping[str, Any],
    called: Callable[[str], str] = str,
    error: Callable[[str], Exception] = ValueError,
) -> None:
    """Check values by the fields of a model of the same names; as `check_fields`."""
    try:
        model.model_validate(dict(values))
    except ValidationError as found:
        name = str(found.errors()[0]["loc"][0])
        message = f"{called(name)} is {values[name]!r:.60}, expected {expectation(model.model_fields[name])}"
        raise error(message) from None


def expectation(field: FieldInfo) -> str:
    """What the values of a field have to be, in words.

    >>> expectation(FieldInfo(annotation=int, ge=2, le=10_000))
    'a whole number from 2 to 10,000'
    """
    kind: Any = field.annotation
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if get_origin(kind) is tuple:
        return f"one or more, each {expectation(FieldInfo.from_annotation(parts[0]))}"
    if parts and all(part is None or get_origin(part) is not None or isinstance(part, type) for part in parts):
        return " or ".join(expectation(FieldInfo.from_annotation(part)) for part in parts)
    return _WORDS.get(kind, str(kind)) + _limits(field.metadata)


def _limits(metadata: list[Any]) -> str:
    keys = ("ge", "gt", "le", "min_length")
    match {key: getattr(limit, key) for limit in metadata for key in keys if hasattr(limit, key)}:
        case {"ge": low, "le": high}:
            return f" from {low:,.16g} to {high:,.16g}"
        case {"ge": low}:
            return f" of at least {low:g}"
        case {"gt": low}:
            return f" above {low:g}"
        case {"min_length": _}:
            return " that is not empty"
    return ""


@cache
def _model(kind: Any) -> type[BaseModel]:
    hints = get_type_hints(kind, include_extras=True)
    known: dict[str, Any] = {field.name: (hints[field.name], ...) for field in fields(kind)}
    return create_model(kind.__name__, __config__=STRICT, **known)
