"""Saving without surprises: tensors as safetensors, everything else as JSON; loading executes nothing.

A save is a folder that appears whole or not at all: it is written under another name, flushed, sealed by a digest over
both files and renamed. An interruption or a full disk leaves what was there before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from wdmoe_env.files.atomic import old_of, write_folder
from wdmoe_env.files.safe import StorageError, read_file, read_json

FORMAT = 1
DTYPES = (torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool)
"""What policies and states are made of."""
READS = 50
"""How often a folder is read that somebody is replacing meanwhile."""


def save_folder(folder: Path, stem: str, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
    """Write `STEM.safetensors` and `STEM.json` to `folder`, in the place of what it held.

    Raises:
        StorageError: a value is not finite, or the disk is full or not writable; `folder` is as it was.
    """
    _check_finite(tensors, f"could not save {folder}")
    blob = dump_tensors({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    try:
        text = json.dumps({"format": FORMAT, "sha256": _digest(blob, data), **data}, indent=1, allow_nan=False)
    except ValueError as error:
        raise StorageError(f"could not save {folder}: {error}") from error
    try:
        write_folder(folder, {f"{stem}.safetensors": blob, f"{stem}.json": text.encode()})
    except OSError as error:
        raise StorageError(f"could not save {folder}: {error}; what was saved before is intact") from error


def load_folder(folder: Path, stem: str, most: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_folder` wrote, also while it is being replaced or after that was cut short.

    The digest tells damage, not who wrote the files: whoever changes them can work it out anew.

    Args:
        folder: where it was saved.
        stem: what its files are called.
        most: bytes that the tensors' file may have.

    Raises:
        StorageError: a file is missing, cut short, changed, too large, no regular file, of another format, or holds
            values that are not finite.
    """
    for _ in range(READS):
        found = _current(folder)
        before = _identity(found)
        try:
            return _read(found, stem, most)
        except StorageError:
            if _current(folder) == found and _identity(found) == before:
                raise
    return _read(_current(folder), stem, most)


def _digest(blob: bytes, data: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(blob)
    digest.update(json.dumps(data, sort_keys=True).encode())
    return digest.hexdigest()


def _current(folder: Path) -> Path:
    """The folder, or what it held before where only the first of two renames was done."""
    return old_of(folder) if not folder.exists() and old_of(folder).exists() else folder


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _read(folder: Path, stem: str, most: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensor_file, data_file = folder / f"{stem}.safetensors", folder / f"{stem}.json"
    data, blob = read_json(data_file), read_file(tensor_file, most)
    version = data.pop("format", None)
    if type(version) is not int or version != FORMAT:
        raise StorageError(f"{data_file} has format {version!r:.60}, expected {FORMAT}")
    if data.pop("sha256", None) != _digest(blob, data):
        raise StorageError(f"{tensor_file} or {data_file.name} is broken: they do not match the digest of the save")
    try:
        tensors = parse_tensors(blob)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise StorageError(f"{tensor_file} is not a safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise StorageError(
                f"{tensor_file}: {name} is {tensor.dtype}, expected one of {', '.join(map(str, DTYPES))}"
            )
    _check_finite(tensors, str(tensor_file))
    return tensors, data


def _check_finite(tensors: Mapping[str, Tensor], place: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise StorageError(f"{place}: {name} holds values that are not finite")
