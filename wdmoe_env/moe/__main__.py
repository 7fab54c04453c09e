"""Command line: ``python -m wdmoe_env.moe COMMAND``; ``--help`` lists the commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from wdmoe_env.console.commands import CommandLine

LINE: Final = CommandLine(
    "wdmoe_env.moe",
    {
        "capture": ("capture", "record the gate weights that a mixture-of-experts model gives the tokens of a text"),
        "train": (
            "small.train",
            "train a small mixture-of-experts model of bytes on this machine's Python sources, and measure it",
        ),
        "texts": ("small.texts", "write a part of that corpus to a folder, one file a source"),
    },
    "this needs the extra llm: pip install 'wdmoe-env[llm]'",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status; a fault ends with one line that names it, and status 2."""
    return LINE.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
