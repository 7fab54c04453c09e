"""The command `split`: write each device's share of a model to a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Write each device's share of a model to a folder of its own, for boards without room for all of it."""

    model: Path
    """Folder of the model."""
    out: Path
    """Folder to write the shares' folders to; it must not exist."""
    devices: int | None = None
    """How many; expert e goes to device e mod U, as in scenarios without `host`."""
    experts: tuple[str, ...] = ()
    """Instead: the experts of each device, such as 0-7 8-15."""


def main(options: Options) -> int:
    """Write them and return 0.

    Raises:
        ValueError: an option or the model does not fit.
        OSError: a share cannot be written.
    """
    from wdmoe_env.testbed.shares import ExpertFiles, parse_experts, write_share

    if options.out.exists():
        raise ValueError(f"--out {options.out} exists: move it away, or choose another name")
    files = ExpertFiles(options.model)
    if (options.devices is None) == (not options.experts):
        raise ValueError("give either --devices or --experts")
    if options.devices is not None:
        if not 1 <= options.devices <= len(files.experts):
            raise ValueError(f"--devices is {options.devices}, expected 1 to {len(files.experts)}, the model's experts")
        shares = [files.experts[device :: options.devices] for device in range(options.devices)]
    else:
        shares = [parse_experts(text) for text in options.experts]
    for device, experts in enumerate(shares):
        folder = options.out / f"device-{device}"
        write_share(files, experts, folder)
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{folder}: experts {', '.join(map(str, experts))}, {size / 1e6:,.1f} MB")
    return 0
