"""Command line: ``python -m wdmoe_env.testbed COMMAND``; ``--help`` lists the commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from wdmoe_env.console.commands import CommandLine

LINE: Final = CommandLine(
    "wdmoe_env.testbed",
    {
        "device": ("serve", "hold some experts of a model, and answer a base station's calls for them"),
        "generate": ("generate", "continue a text with a model whose experts are on devices"),
        "compare": ("compare", "show where the predicted and the measured time of layers part"),
        "split": ("split", "write each device's share of a model to a folder of its own"),
        "key": ("secrets", "write a new key that the base station and its devices share"),
        "certificates": ("certificates", "write TLS certificates for devices"),
    },
    "this needs the extra testbed, on the base station llm, too: pip install 'wdmoe-env[testbed,llm]'",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status; a fault ends with one line that names it, and status 2."""
    return LINE.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
