"""Keys of a scenario, from its schema; what they mean is told in `words.yaml`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from site_parts.tables import code, table
from wdmoe_env import Scenario

HEADS: Final = ("key", "type", "unit", "default", "meaning")
NOTHING: Final = object()
WORDS: Final = {None: "none", "": "empty"}


@dataclass(frozen=True)
class Key:
    """One key: its place, the part of the schema that says what it may be, and what holds without it."""

    place: str
    schema: Mapping[str, Any]
    default: Any

    @property
    def told(self) -> str:
        """The default as a reader is told it."""
        if self.default is NOTHING:
            return "required"
        return WORDS[self.default] if self.default in (None, "") else code(self.default)

    @property
    def allowed(self) -> str:
        """What it may be, as far as the schema knows; empty where it does not."""
        if choices := self.schema.get("enum") or ([self.schema["const"]] if "const" in self.schema else None):
            return ", ".join(map(code, choices))
        if self.schema.get("type") == "boolean":
            return "`True`, `False`"
        if "maximum" in self.schema:
            return _within(self.schema)
        return "text" if self.schema.get("type") == "string" else ""


def _within(schema: Mapping[str, Any]) -> str:
    kind = "integer" if schema["type"] == "integer" else "number"
    high = _number(schema["maximum"])
    if "exclusiveMinimum" in schema:
        return f"{kind} above {_number(schema['exclusiveMinimum'])}, at most {high}"
    return f"{kind}, {_number(schema['minimum'])} to {high}"


def _number(value: float) -> str:
    return re.sub(r"e([+-])0?", lambda sign: "e-" if sign[1] == "-" else "e", f"{value:g}")


@cache
def keys() -> dict[str, Key]:
    """Every key by its place, in the schema's order, as the project knew them when it was first asked."""
    schema = Scenario.model_json_schema()
    return {key.place: key for key in _keys(schema, schema["$defs"], "", {})}


def _keys(node: Mapping[str, Any], defs: Mapping[str, Any], prefix: str, given: Mapping[str, Any]) -> Iterator[Key]:
    node = defs[node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node
    for name, value in node["properties"].items():
        default = given.get(name, NOTHING if name in node.get("required", []) else value.get("default"))
        options = value.get("anyOf") or value.get("oneOf") or [value]
        if sections := [part for part in options if "$ref" in part or "properties" in part]:
            for section in sections:
                yield from _keys(section, defs, f"{prefix}{name}.", default if isinstance(default, dict) else {})
        elif "$ref" in value.get("items", {}):
            yield from _keys(value["items"], defs, f"{prefix}{name}[].", {})
        else:
            yield Key(f"{prefix}{name}", next(part for part in options if part.get("type") != "null"), default)


def section(name: str, words: Mapping[str, Mapping[str, str]]) -> str:
    """The table of one section, such as `channel.trace`; `scenario` is the top level.

    Args:
        words: of each key its `meaning`, and where there is one its `unit`; `type` where the schema does not say it.

    Raises:
        ValueError: a key is not told of, or its type is told by the schema and by the words.
    """
    return table(HEADS, [_row(key, words) for key in keys().values() if section_of(key.place) == name])


def section_of(place: str) -> str:
    """The section of the page that a key stands in."""
    parts = place.split(".")
    if len(parts) == 1:
        return "scenario"
    return "channel.trace" if parts[:2] == ["channel", "trace"] else parts[0].removesuffix("[]")


def _row(key: Key, words: Mapping[str, Mapping[str, str]]) -> tuple[str, str, str, str, str]:
    if key.place not in words:
        raise ValueError(f"docs/words.yaml has no {key.place!r}: expected its meaning, and its unit where it has one")
    told = words[key.place]
    if told.get("type") == key.allowed or not (key.allowed or told.get("type")):
        raise ValueError(
            f"docs/words.yaml: type of {key.place!r} is {told.get('type')!r}, the schema's {key.allowed!r}"
        )
    return code(key.place), told.get("type") or key.allowed, told.get("unit", ""), key.told, told["meaning"]
