"""Plain text in columns, for what needs no extra."""

from __future__ import annotations

from collections.abc import Container, Sequence


def columns(rows: Sequence[Sequence[str]], numbers: Container[int] = ()) -> str:
    """Rows of equal length as lines; columns whose index is in `numbers` are aligned to the right.

    >>> print(columns([("preset", "devices"), ("paper", "8")], numbers=(1,)))
    preset  devices
    paper         8
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index in numbers else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
