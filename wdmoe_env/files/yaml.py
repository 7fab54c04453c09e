"""Reading YAML strictly: nothing is executed, no key stands twice, and words and numbers are those of YAML 1.2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from wdmoe_env.files.safe import StorageError, read_text

MAX_BYTES = 4 * 2**20
MAX_VALUES = 10**6
"""What a file may stand for: aliases of aliases make billions of a few lines."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the words and numbers of YAML 1.2, which refuses a key that stands twice or is no text.

    Those of YAML 1.1 take 100e6 for a text, `no` for false, 1:30 for 90 and 017 for 15.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} stands twice", node.start_mark)
        mapping = super().construct_mapping(node, deep)
        if foreign := [key for key in mapping if not isinstance(key, (str, int, float))]:
            what = f"a mapping has the key {foreign[0]!r:.60}, a {type(foreign[0]).__name__}, expected a text"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        return mapping

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node; what its constructor does not take is told with its place."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, AttributeError, TypeError, OverflowError) as error:
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"{str(node.value)!r:.60} is no {kind} ({error})", node.start_mark
            ) from error


_OTHER = {"bool", "int", "float"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag.rpartition(":")[2] not in _OTHER]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][\d_]*)|0o[0-7]+|0x[\da-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*|\d[\d_]*(?=[eE]))(?:[eE][-+]?\d+)?", "-+0123456789."),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), list(_first))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        ValueError: it cannot be read, is no YAML, a key stands twice or is no text, it stands for too much, or is
            something else.
    """
    try:
        data = yaml.load(read_text(path, MAX_BYTES), Loader=_Loader)  # noqa: S506 - a SafeLoader
        values = _count(data, {})
    except (yaml.YAMLError, StorageError) as error:
        raise ValueError(f"{path} is not a YAML file: {error}") from error
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply, or holds an alias of itself") from None
    if values > MAX_VALUES:
        raise ValueError(f"{path} stands for {values:,} values, expected at most {MAX_VALUES:,}")
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds a {type(data).__name__}, expected a mapping")
    return data


def _count(value: Any, counted: dict[int, int]) -> int:
    """Values within a value; what an alias stands for counts each time, but is looked at once."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in counted:
        parts = value.values() if isinstance(value, dict) else value
        counted[id(value)] = 1 + sum(_count(part, counted) for part in parts)
    return counted[id(value)]
