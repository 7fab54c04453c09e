"""Functions that Numba compiles on their first call: loops over one cell, where arrays over many cells do not help.

Machine code is kept beside the source. Numba takes it for stale when the function's own file changes, but not when one
that it calls does, in another file; so all files with compiled functions together say whether it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

FILES: Final = (
    "band.py",
    "branch.py",
    "cell.py",
    "compiled.py",
    "facility.py",
    "plan.py",
    "polishing.py",
    "token_moves.py",
    "whole.py",
)
SOURCES: Final = hashlib.sha256(b"".join(Path(__file__).with_name(name).read_bytes() for name in FILES)).hexdigest()


def compiled(function: Function) -> Function:
    """Compile a function on its first call with new types."""
    made: Any = njit(cache=True, nogil=True)(function)
    kept = made._cache._cache_file  # there is no public way to say what else the code depends on
    kept._source_stamp = (kept._source_stamp, SOURCES)
    return made
