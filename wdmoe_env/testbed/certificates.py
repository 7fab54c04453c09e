"""The command `certificates`: write TLS certificates for devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wdmoe_env.testbed import keys


@dataclass(frozen=True)
class Options:
    """Write a certificate and its key for each device, and the authority that the base station knows them by."""

    out: Path
    """Folder to write; it must not exist."""
    names: tuple[str, ...]
    """Host names or addresses of the devices, as the base station connects to them."""


def main(options: Options) -> int:
    """Write them and return 0."""
    written = keys.write_certificates(options.out, options.names)
    print("\n".join(map(str, written)))
    print(f"the base station needs {written[0]}, each device its own .pem and .key: --tls NAME.pem NAME.key")
    return 0
