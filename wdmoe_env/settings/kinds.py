"""Settings of open kinds: which class reads a mapping is looked up by its `kind` in a registry, when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema, to_json

from wdmoe_env.registry import Registry


@dataclass(frozen=True, eq=False)
class ByKind:
    """Annotation of a field that holds settings of a registered kind: a mapping with `kind`, or the name of one alone.

    Entries that are no classes have no settings of their own: what is kept of them is the name.
    """

    registry: Registry[Any]

    def read(self, value: Any) -> Any:
        """Settings, or the name, that a value means.

        Raises:
            ValueError: the kind is unknown, or its settings are wrong.
        """
        if isinstance(value, BaseModel):
            return value
        data = {"kind": value} if isinstance(value, str) else value
        if not isinstance(data, Mapping) or "kind" not in data:
            raise ValueError(f"expected a mapping with kind, one of {', '.join(self.registry)}")
        entry, kind = self.registry.find(data["kind"]), data["kind"]
        if isinstance(entry, type) and issubclass(entry, BaseModel):
            # Through JSON, as all of a scenario: lists become tuples while every other type stays strict.
            return entry.model_validate_json(to_json(dict(data), inf_nan_mode="constants"))
        if more := [key for key in data if key != "kind"]:
            raise ValueError(f"kind {kind!r} has no settings, but {more[0]!r} is given")
        return kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        classes: list[type[BaseModel]] = [entry for entry in self.registry.values() if isinstance(entry, type)]
        name = [] if len(classes) == len(self.registry) else [{"type": "string"}]
        return {"oneOf": [*name, *(handler(entry.__pydantic_core_schema__) for entry in classes)]}


def kind_of(settings: type[BaseModel]) -> str:
    """The one `kind` that a class of settings is for.

    Raises:
        ValueError: it has no field `kind` of type Literal with one text.
    """
    field = settings.model_fields.get("kind")
    names = get_args(field.annotation) if field else ()
    if len(names) != 1 or not isinstance(names[0], str):
        raise ValueError(f"class {settings.__name__} has no field kind of one name, expected kind: Literal['NAME']")
    return names[0]
