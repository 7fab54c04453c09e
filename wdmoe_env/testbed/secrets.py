"""The command `key`: write a new key that the base station and its devices share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wdmoe_env.testbed import keys


@dataclass(frozen=True)
class Options:
    """Write a new key, which nobody but its owner may read. Copy it to each device by a safe way, such as scp."""

    out: Path
    """File to write; it must not exist."""


def main(options: Options) -> int:
    """Write the key and return 0."""
    keys.write_key(options.out)
    print(f"{options.out}: a new key; give it to the base station and to every device with --key")
    return 0
