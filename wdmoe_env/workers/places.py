"""What `--on` and `--jobs` name: the pool that units run in."""

from __future__ import annotations

import os
import re

from wdmoe_env.workers.on_ray import RayPool
from wdmoe_env.workers.processes import LocalPool
from wdmoe_env.workers.units import Pool, PoolError

RAY = "ray"
ADDRESS = "RAY_ADDRESS"
"""Environment variable that names a cluster to join."""


def check(on: str | None, jobs: int | None) -> None:
    """Refuse what names no place.

    Raises:
        PoolError: `on` is neither ray nor ray://HOST:PORT, or jobs is below 1.
    """
    if jobs is not None and jobs < 1:
        raise PoolError(f"--jobs is {jobs}, expected at least 1")
    if on is not None and on != RAY and not re.fullmatch(r"ray://[^\s/]+:\d{1,5}", on):
        raise PoolError(f"--on is {on!r:.80}, expected ray, or ray://HOST:PORT")


def opened(on: str | None, jobs: int | None) -> Pool:
    """The pool; without `on` processes of this machine.

    Raises:
        PoolError: see `check`; Ray is not installed, or its cluster cannot be reached.
    """
    check(on, jobs)
    if on is None:
        return LocalPool(jobs or 1)
    return RayPool(os.environ.get(ADDRESS) if on == RAY else on, jobs)
