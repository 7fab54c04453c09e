"""Print the columns and cells of a Parquet file as JSON; run as a script, in a process of its own.

Damaged Parquet can end the process that decodes it: of 20,000 tables with a few changed bytes 4 made polars 2.1 abort.
And a few kB of it can stand for gigabytes: what a file says of its size is looked at before its values are.
"""

import json
import sys

import polars

MAX_CELLS, MAX_CHARACTERS = 5_000_000, 2**28
TOO_LARGE = 3
"""Exit status: the table has more cells, or longer ones, than that."""


def limit_memory(most: int) -> None:
    """Let the system refuse more memory than that, where it can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    except (ImportError, ValueError, OSError):
        pass


def decoded(path: str) -> tuple[list[str], list[list[str]]] | None:
    """Columns and cells as text, like those of a CSV: one set of checks for both. None where they are too many."""
    lazy = polars.scan_parquet(path, glob=False)
    rows = lazy.select(polars.len()).collect().item()
    if rows * len(lazy.collect_schema()) > MAX_CELLS:
        return None
    frame = lazy.collect()
    cells = [["" if value is None else str(value) for value in row] for row in frame.iter_rows()]
    return (frame.columns, cells) if sum(len(cell) for row in cells for cell in row) <= MAX_CHARACTERS else None


if __name__ == "__main__":
    limit_memory(int(sys.argv[2]))
    if (table := decoded(sys.argv[1])) is None:
        sys.exit(TOO_LARGE)
    json.dump(table, sys.stdout)
