"""A process that ends with the one that started it, however that ends: `python -m wdmoe_env.workers.orphans`.

python -m wdmoe_env.workers.orphans PARENT FILE_OR_MODULE ARGUMENTS...
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

LOOK_S = 0.5
"""How often a process looks whether the one that started it is still there."""


def end_with(parent: int) -> None:
    """End this process, in the middle of whatever it does, when its parent is none any more."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)


def _heed_signals() -> None:
    """Let all signals through: Ray blocks SIGINT in its processes, and what they start inherits that."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())


def main(arguments: list[str]) -> None:
    """Run a file, or a module, as Python would."""
    parent, what, *rest = arguments
    end_with(int(parent))
    _heed_signals()
    sys.argv = [what, *rest]
    if what.endswith(".py"):
        runpy.run_path(what, run_name="__main__")
    else:
        runpy.run_module(what, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
