"""Modules of users that register baselines, codecs, kinds and the like: imported by name, in child processes, too."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Final

VARIABLE: Final = "WDMOE_PLUGINS"
"""Environment variable that names them, separated by commas. Child processes inherit it."""


def load_plugins(modules: str = "") -> None:
    """Import modules, separated by commas, and those of `VARIABLE`, to which they are added for child processes.

    Raises:
        ValueError: one cannot be imported; names it and the reason.
    """
    names = [name.strip() for name in f"{os.environ.get(VARIABLE, '')},{modules}".split(",")]
    os.environ[VARIABLE] = ",".join(wanted := [name for name in dict.fromkeys(names) if name])
    for name in wanted:
        import_plugin(name)


def import_plugin(name: str) -> ModuleType:
    """Import a module that is installed, or lies in the working directory.

    Raises:
        ValueError: it cannot be imported; names it and the reason.
    """
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    try:
        return import_module(name)
    except Exception as error:  # whatever a module of somebody else may raise
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"module {name!r} cannot be imported: {reason}; expected one that is installed, or lies in {here}"
        ) from error
