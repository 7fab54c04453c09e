"""One process at a time writes to a run, a set of runs, a study or a folder of results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from wdmoe_env.files.safe import StorageError


@contextlib.contextmanager
def locked(file: Path, what: Path | None = None) -> Iterator[None]:
    """Hold what `file` stands for, for as long as the context lasts; a process that is killed lets go of it.

    The lock is a hidden file beside it, which stays: somebody may be about to lock it.

    A message calls it `what`, by default the folder of the file.

    Raises:
        StorageError: another process holds it.
    """
    what = what or file.parent
    # Not the library's stand-in for file systems without locks: that would outlive a process that is killed.
    lock = FileLock(lock_of(file), blocking=False, fallback_to_soft=False)
    with contextlib.ExitStack() as stack:
        # A file system without locks is no reason not to go on.
        with contextlib.suppress(OSError, NotImplementedError):
            try:
                stack.enter_context(lock)
            except Timeout as error:
                raise StorageError(f"{what} is in use by another process: wait for it, or end it first") from error
        yield


def lock_of(file: Path) -> Path:
    """The file that is locked in the place of another."""
    return file.with_name(f".{file.name}.lock")
