"""Checkpoints of the small model's training: a folder of tensors and JSON, whole or not at all; nothing is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from wdmoe_env.files.safe import StorageError, read_json
from wdmoe_env.files.tensors import load_folder, save_folder
from wdmoe_env.files.tree import flatten, unflatten

STEM = "state"
OLD_NAME = "checkpoint.pt"
"""What version 0.1 wrote, a pickle."""


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, a folder, or leave the one before as it was.

    Args:
        path: the folder.
        content: trees of plain values, tensors and arrays.

    Raises:
        StorageError: a value is not finite, or it cannot be written, as where the disk is full.
    """
    tensors: dict[str, Tensor] = {}
    data = flatten(content, STEM, tensors)
    save_folder(path, STEM, tensors, data)


def load_checkpoint(path: Path, most: int) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, whose tensors may take `most` bytes.

    Raises:
        StorageError: it is missing, broken, too large or of another format.
    """
    tensors, data = load_folder(path, STEM, most)
    try:
        content: dict[str, Any] = unflatten(data, tensors)
    except (KeyError, TypeError) as error:
        raise StorageError(f"{path} is broken: it names a tensor that it does not hold, {error!s:.60}") from error
    return content


def identity_of(path: Path) -> dict[str, Any]:
    """The settings that the run of a checkpoint keeps to; no tensor is read.

    Raises:
        StorageError: it is missing or broken.
    """
    if not path.exists():
        if (old := path.with_name(OLD_NAME)).exists():
            raise StorageError(
                f"{old} is a checkpoint of version 0.1, which is not read: finish the run with that version, or start "
                "it anew with another --out"
            )
        raise StorageError(f"{path} does not exist, expected the checkpoint of a run that was stopped")
    found = read_json(path / f"{STEM}.json").get("identity")
    if not isinstance(found, dict):
        raise StorageError(f"{path} is no checkpoint of this program: its identity is {found!r:.60}")
    return found
