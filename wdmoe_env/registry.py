"""Registries: what can be named in a scenario or a call, and what users add to it from packages of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

Entry = TypeVar("Entry")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class Registry(Mapping[str, Entry]):
    """Entries by name, in the order in which they were registered.

    Args:
        what: what an entry is, for messages.

    >>> shapes = Registry[int]("shape")
    >>> shapes.register("square", 4)
    4
    >>> list(shapes)
    ['square']
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._entries: dict[str, Entry] = {}

    def register(self, name: str, entry: Entry) -> Entry:
        """Add an entry and return it. One that is defined again at the same place takes the place of its former self.

        Raises:
            ValueError: the name is taken, or no name: letters, digits, dots, underscores, pluses and hyphens.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"name of a {self._what} is {name!r:.60}, expected letters, digits, dots, underscores, pluses, hyphens"
            )
        # A cell of a notebook that is run again defines the same class anew.
        if name in self._entries and _place(self._entries[name]) != _place(entry):
            raise ValueError(f"{self._what} {name!r} is registered already, expected another name")
        self._entries[name] = entry
        return entry

    def find(self, name: object) -> Entry:
        """Return the entry of that name.

        Raises:
            ValueError: there is none; lists the names.
        """
        if not isinstance(name, str) or name not in self._entries:
            raise ValueError(
                f"{self._what} is {name!r:.60}, expected one of {', '.join(self._entries)}; one of your own has to be "
                "registered first: import its module, or name it with --plugins"
            )
        return self._entries[name]

    def known(self, name: str) -> str:
        """Return the name if it is one; else as `find`."""
        self.find(name)
        return name

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _place(entry: object) -> object:
    """Where an entry is defined; the entry itself, where that is not known."""
    name = getattr(entry, "__qualname__", None)
    return entry if name is None or "<lambda>" in name else (getattr(entry, "__module__", None), name)
