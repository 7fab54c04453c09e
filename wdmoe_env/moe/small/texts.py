"""Write a part of the corpus out as files, for a model to read or for `capture`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wdmoe_env.files.atomic import write_bytes
from wdmoe_env.moe.small import corpus


@dataclass(frozen=True)
class Options:
    """Write the Python sources of one part of the corpus to a folder, one file each."""

    out: Path
    """New folder."""
    part: Literal["train", "validation", "test"] = "validation"
    """The small model learns from train, and has seen none of the others."""


def main(options: Options) -> int:
    """Write, say how much it was, and return 0.

    Raises:
        ValueError: the folder exists, or there is no corpus.
        OSError: a file cannot be written.
    """
    if options.out.exists():
        raise ValueError(f"--out {options.out} exists, expected a new folder")
    found = corpus.texts(options.part)
    options.out.mkdir(parents=True)
    for name, content in found:
        write_bytes(options.out / name.replace("/", "-"), content)
    print(f"{options.out}: {len(found)} files, {sum(len(content) for _, content in found):,} bytes")
    return 0
