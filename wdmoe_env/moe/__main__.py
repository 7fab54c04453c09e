"""Command line: ``python -m wdmoe_env.moe COMMAND``; ``--help`` lists the commands.

A command is a module with a dataclass `Options` and `main(options) -> int`, the exit status. It loads
torch when it runs, not when it is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from wdmoe_env.files.safe import StorageError

COMMANDS = {
    "capture": ("capture", "record the gate weights that a mixture-of-experts model gives the tokens of a text"),
    "train": (
        "small.train",
        "train a small mixture-of-experts model of bytes on this machine's Python sources, and measure it",
    ),
    "texts": ("small.texts", "write a part of that corpus to a folder, one file a source"),
}
"""Of each command the module below `wdmoe_env.moe`, and what it does."""
PROGRAM = "python -m wdmoe_env.moe"
NEEDS = "this needs the extra llm: pip install 'wdmoe-env[llm]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status; a fault ends with one line that names it, and status 2."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(
            "\n".join([f"usage: {PROGRAM} COMMAND [OPTIONS]", "", *(f"  {n:12}{t}" for n, (_, t) in COMMANDS.items())])
        )
        return 0
    try:
        if name not in COMMANDS:
            raise ValueError(f"unknown command {name!r}, expected one of {', '.join(COMMANDS)}")
        return _run(name, rest)
    except ImportError as error:
        return _fault(f"{error}; {NEEDS}")
    except (ValueError, OSError, StorageError) as error:
        return _fault(str(error))
    except KeyboardInterrupt:
        return _fault("interrupted", 130)


def _run(name: str, arguments: Sequence[str]) -> int:
    import tyro

    command = import_module(f"wdmoe_env.moe.{COMMANDS[name][0]}")
    options = tyro.cli(command.Options, prog=f"{PROGRAM} {name}", args=arguments)
    return int(command.main(options))


def _fault(message: str, status: int = 2) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
