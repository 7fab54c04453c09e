"""Saving without surprises: tensors as safetensors, everything else as JSON; loading executes nothing.

A save is a folder that appears whole or not at all: it is written under another name, flushed, checked by a digest
and renamed. An interruption or a full disk leaves what was there before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

FORMAT = 1


class StorageError(Exception):
    """A save failed, or what should be loaded is missing, broken or foreign; the message says which and what to do."""


def save_folder(folder: Path, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
    """Write `tensors.safetensors` and `data.json` to `folder`, in the place of what it held.

    Raises:
        StorageError: the disk is full or not writable; `folder` is as it was.
    """
    part, old = folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")
    blob = dump_tensors({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    text = json.dumps({"format": FORMAT, "sha256": hashlib.sha256(blob).hexdigest(), **data}, indent=1)
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _write(part / "tensors.safetensors", blob)
        _write(part / "data.json", text.encode())
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(folder, old)
        os.replace(part, folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        raise StorageError(f"could not save {folder}: {error}; what was saved before is intact") from error


def _write(path: Path, blob: bytes) -> None:
    with path.open("wb") as file:
        file.write(blob)
        file.flush()
        os.fsync(file.fileno())


def load_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_folder` wrote.

    Raises:
        StorageError: a file is missing, cut short, changed, of another format, or holds values that are not finite.
    """
    old = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and old.exists():  # killed between the two renames
        folder = old
    tensor_file, data_file = folder / "tensors.safetensors", folder / "data.json"
    try:
        data = json.loads(data_file.read_text(encoding="utf-8"))
        blob = tensor_file.read_bytes()
    except OSError as error:
        raise StorageError(f"{error.filename} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StorageError(f"{data_file} is broken: {error}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise StorageError(f"{data_file} has format {found!r}, expected {FORMAT}")
    if hashlib.sha256(blob).hexdigest() != data.get("sha256"):
        raise StorageError(f"{tensor_file} is broken: it differs from the digest in {data_file.name}")
    try:
        tensors = parse_tensors(blob)
    except (SafetensorError, ValueError) as error:
        raise StorageError(f"{tensor_file} is not a safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise StorageError(f"{tensor_file}: {name} holds values that are not finite")
    return tensors, data


def flatten(tree: Any, prefix: str, tensors: dict[str, Tensor]) -> Any:
    """Move the tensors and arrays of a tree into `tensors`; return the rest, fit for JSON, with references to them."""
    if isinstance(tree, (Tensor, np.ndarray)):
        tensors[prefix] = tree if isinstance(tree, Tensor) else _as_tensor(tree)
        return {"__tensor__": prefix, "complex": bool(np.iscomplexobj(tree)) if isinstance(tree, np.ndarray) else False}
    if isinstance(tree, Mapping):
        return {str(key): flatten(value, f"{prefix}.{key}", tensors) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [flatten(value, f"{prefix}.{index}", tensors) for index, value in enumerate(tree)]
    return tree


def unflatten(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Put the tensors back into what `flatten` returned; all of them come back as tensors."""
    if isinstance(tree, dict) and "__tensor__" in tree:
        tensor = tensors[tree["__tensor__"]]
        return torch.view_as_complex(tensor) if tree["complex"] else tensor
    if isinstance(tree, dict):
        return {key: unflatten(value, tensors) for key, value in tree.items()}
    if isinstance(tree, list):
        return [unflatten(value, tensors) for value in tree]
    return tree


def _as_tensor(array: np.ndarray[Any, Any]) -> Tensor:
    tensor = torch.from_numpy(np.array(array, order="C"))
    return torch.view_as_real(tensor).contiguous() if tensor.is_complex() else tensor
