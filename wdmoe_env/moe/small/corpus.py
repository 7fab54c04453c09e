"""A corpus that every machine has: the Python sources of the standard library, split by file.

Tests, installed packages and files that a build writes (with paths of the machine) are left out. Which part a file
belongs to depends on its name alone, so the split is the same wherever this Python version runs.
"""

from __future__ import annotations

import hashlib
import platform
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, get_args

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
LEFT_OUT = ("test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "config-*")
"""Folders that are not read, as patterns of their names."""
BUILT = ("_sysconfigdata*.py",)
"""Files that hold paths of the machine that built Python."""
SHARES = 20
"""The names are hashed to so many shares: one is validation, one is test."""


@dataclass(frozen=True)
class Summary:
    """What a split holds.

    Attributes:
        python: version of the Python whose library it is.
        files: files of each part.
        bytes: bytes of each part.
        sha256: digest over the names, parts and contents of all files.
    """

    python: str
    files: dict[str, int]
    bytes: dict[str, int]
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def texts(part: Part, root: Path | None = None) -> list[tuple[str, bytes]]:
    """The files of one part as (name, content), sorted by name; names are relative to the library, with `/`.

    Args:
        part: `train`, `validation` or `test`.
        root: folder of the library (default: that of the running Python).

    Raises:
        ValueError: there is no such part, the folder holds no sources, or none of this part.
        OSError: a file cannot be read.
    """
    if part not in PARTS:
        raise ValueError(f"part={part!r}, expected one of {', '.join(PARTS)}")
    root = root or library()
    found = [(name, path) for name, path in _sources(root) if part_of(name) == part]
    if not found:
        raise ValueError(f"{root} holds no Python sources for the part {part!r}, expected a standard library")
    return [(name, path.read_bytes()) for name, path in found]


def part_of(name: str) -> Part:
    """The part that a file belongs to, by the hash of its name: about 90 % train, 5 % validation, 5 % test.

    >>> part_of("argparse.py"), part_of("heapq.py")
    ('train', 'train')
    """
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % SHARES
    return "validation" if share == 0 else "test" if share == 1 else "train"


def summary(root: Path | None = None) -> Summary:
    """Count and seal the whole split; the errors are those of `texts`."""
    digest = hashlib.sha256()
    files: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for part in PARTS:
        found = texts(part, root)
        files[part], sizes[part] = len(found), sum(len(content) for _, content in found)
        for name, content in found:
            digest.update(f"{part} {name} {len(content)}\n".encode() + content)
    return Summary(platform.python_version(), files, sizes, digest.hexdigest())


def library() -> Path:
    """Folder of the running Python's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def _sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Names and paths of the files that are read, sorted by name; empty files say nothing."""
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
    for name in sorted(found):
        *folders, file = name.split("/")
        left_out = any(fnmatch(folder, pattern) for folder in folders for pattern in LEFT_OUT)
        if not left_out and not any(fnmatch(file, pattern) for pattern in BUILT) and found[name].stat().st_size:
            yield name, found[name]
