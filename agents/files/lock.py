"""One process at a time trains in a run directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from wdmoe_env.files.safe import StorageError

try:
    import fcntl
except ImportError:  # Windows has no such locks.
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold `file` for as long as the context lasts; a process that is killed lets go of it.

    Raises:
        StorageError: another process holds it.
    """
    with contextlib.ExitStack() as stack:
        # A file system without locks is no reason not to train.
        with contextlib.suppress(OSError):
            handle = stack.enter_context(file.open("rb"))
            try:
                if fcntl is not None:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StorageError(
                    f"{file.parent} is being trained by another process: wait for it, or end it first"
                ) from error
        yield
