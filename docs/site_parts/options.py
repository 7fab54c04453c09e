"""Options of the command lines, from the dataclasses that they are made of."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import tyro

from site_parts.tables import code, table

HEADS = ("option", "values", "default", "meaning")


class Command(NamedTuple):
    """A command line: what is typed, and the module that has its `Options`."""

    typed: str
    module: str


COMMANDS = (
    Command("train.py", "train"),
    Command("train.py export", "agents.export.command"),
    Command("evaluate.py", "evaluate"),
    Command("python -m agents.tune", "agents.tune.__main__"),
    Command("python -m explorer", "explorer.__main__"),
    Command("python -m evaluation.snapshot", "evaluation.snapshot"),
    Command("python -m evaluation.dataset", "evaluation.dataset"),
)


def commands() -> Iterator[Command]:
    """All of them, the subcommands of `wdmoe_env.moe` and `wdmoe_env.testbed` at the end."""
    yield from COMMANDS
    for package in ("wdmoe_env.moe", "wdmoe_env.testbed"):
        line = import_module(f"{package}.__main__").LINE
        for name, (module, _) in line.commands.items():
            yield Command(f"python -m {package} {name}", f"{package}.{module}")


def meanings(options: type) -> dict[str, str]:
    """The docstring below each field of a class, those of the classes that it inherits from included."""
    found: dict[str, str] = {}
    for owner in reversed([base for base in options.__mro__ if dataclasses.is_dataclass(base)]):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(node, ast.ClassDef)
        for field, text in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found


def values(kind: Any) -> str:
    """What an option takes, in words."""
    if get_origin(kind) is Annotated:
        return values(get_args(kind)[0])
    parts = [part for part in get_args(kind) if part not in (type(None), Ellipsis)]
    if get_origin(kind) is Literal:
        return ", ".join(map(code, parts))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(values, parts))
    if get_origin(kind) is tuple:
        return f"{values(parts[0])}, one or more"
    if get_origin(kind) is dict:
        return "KEY VALUE, …"
    return {"bool": "flag", "int": "integer", "float": "number", "str": "text", "Path": "path"}[kind.__name__]


def default(field: dataclasses.Field[Any]) -> str:
    """What holds where an option is not given; empty where the meaning says it."""
    if field.default is dataclasses.MISSING:
        return "required" if field.default_factory is dataclasses.MISSING else ""
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    return "" if field.default in (None, "", ()) else code(field.default)


def rows(command: Command, notes: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Each option with what it takes, its default and its meaning.

    Raises:
        ValueError: an option has no docstring, or a note is of an option that there is not.
    """
    options = import_module(command.module).Options
    kinds, texts = get_type_hints(options, include_extras=True), meanings(options)
    names = [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(options)]
    if wrong := set(notes) - set(names):
        raise ValueError(f"words.yaml: notes of {command.typed} for {sorted(wrong)}, expected some of {names}")
    for name, field in zip(names, dataclasses.fields(options), strict=True):
        if field.name not in texts:
            raise ValueError(f"{command.module}.Options.{field.name} has no docstring")
        meaning = f"{texts[field.name]} {notes.get(name, '')}".strip().replace("|", "\\|").replace("<", "&lt;")
        shown = field.name.upper() if tyro.conf.Positional in get_args(kinds[field.name]) else name
        yield code(shown), values(kinds[field.name]), default(field), meaning


def page(notes: Mapping[str, Mapping[str, str]]) -> str:
    """A section for each command: what it does, and the table of its options.

    Args:
        notes: of a command by what is typed, what is to be said of an option besides its docstring.
    """
    parts = []
    for command in commands():
        options = import_module(command.module).Options
        does = inspect.cleandoc(options.__doc__ or "")
        listed = table(HEADS, rows(command, notes.get(command.typed, {})))
        parts.append(f"## `{command.typed}`\n\n{does}\n\n{listed}")
    return "\n".join(parts)
