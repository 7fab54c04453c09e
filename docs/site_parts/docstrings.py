"""Docstrings as Sphinx reads them: one line may tell of several arguments, `a, b: what they are`."""

from __future__ import annotations

import re
from typing import Any, Final

SEVERAL: Final = re.compile(r"^( +)((?:\w+, )+\w+)(?= \(|: )")


def joined(lines: list[str]) -> list[str]:
    """Lines of a docstring with the names of such a line in one word: two would be a type and a name."""
    return [SEVERAL.sub(lambda found: found[1] + found[2].replace(", ", ","), line) for line in lines]


def setup(app: Any) -> None:
    """Let every docstring be read so, before napoleon reads it."""

    def on_docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
        lines[:] = joined(lines)

    app.connect("autodoc-process-docstring", on_docstring, priority=100)
