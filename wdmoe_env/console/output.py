"""Printing that undoes nothing: a locale that lacks a character, or a reader that has gone, is no reason to fail."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def tolerate_locale() -> None:
    """Let standard output and error print `?` for what their encoding lacks; call it where a command line starts."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def printing() -> Iterator[None]:
    """Print what is good to know and no result: where nobody reads any more (`| head`, a full disk), it is left out."""
    try:
        yield
        sys.stdout.flush()
    except OSError:
        # Or Python would try again at its end, and say so.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
