"""The file format of recorded gate weights: safetensors, written whole or not at all, checked before it is used.

Tensors: `gate_weights` (tokens, layers, experts) float16 or float32, the router's softmax over all experts; `document`
(tokens,) int32, never falling, the context that a token stood in. The header's metadata names the format, its version,
`layers`, `experts` and `top_k`, and tells where the weights come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wdmoe_env.files.atomic import replacing

FORMAT: Final = "wdmoe-gate-trace"
VERSION: Final = "1"
MAX_HEADER_BYTES: Final = 2**20
MAX_BYTES: Final = 64 * 10**9
TOLERANCE: Final = {"F16": 1e-3, "F32": 1e-5}
"""How far from 1 a row may sum to, besides what 16 bits lose of many small weights."""
_LEAST_F16 = 2.0**-25
_CHUNK_VALUES = 2**22


@dataclass(frozen=True)
class Values:
    """An array in a file, of which slices are read when they are asked for: nothing is mapped, so that a file that is
    cut short meanwhile is an error and not the end of the process.

    Attributes:
        path: the file.
        shape: of the array, C-contiguous.
        dtype: of its values.
        offset: its first byte in the file.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Some rows of the first axis.

        Raises:
            ValueError: the file is gone, or ends before them.
        """
        start, stop, _ = rows.indices(self.shape[0])
        row = int(np.prod(self.shape[1:], dtype=np.int64))
        count = max(stop - start, 0) * row
        try:
            with self.path.open("rb") as file:
                found = np.fromfile(file, self.dtype, count, offset=self.offset + start * row * self.dtype.itemsize)
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read: {error.strerror or error}") from error
        if found.size != count:
            raise ValueError(f"{self.path} was cut short since it was opened: put it back")
        return found.reshape(-1, *self.shape[1:])


@dataclass(frozen=True)
class Content:
    """What a checked file holds.

    Attributes:
        values: the gate weights, in the file.
        shape: tokens, layers, experts.
        document: (tokens,) int32.
        metadata: what the header tells.
    """

    values: Values
    shape: tuple[int, int, int]
    document: NDArray[np.int32]
    metadata: dict[str, str]


def read_trace(path: Path) -> Content:
    """Check all of a file.

    Raises:
        ValueError: it is broken, too large, or something else; names the file and what is wrong.
    """
    try:
        return _checked(path)
    except ValueError as error:
        raise ValueError(f"{path} is no trace of gate weights: {error}") from error


def write_trace(
    path: Path, weights: NDArray[np.floating[Any]], document: NDArray[np.int32], metadata: Mapping[str, str]
) -> None:
    """Write a file of gate weights, whole or not at all.

    Args:
        path: file to write or replace.
        weights: (tokens, layers, experts) float16 or float32; rows that sum to 1.
        document: (tokens,) int32.
        metadata: `top_k`, and where the weights come from; format, version and sizes are added.

    Raises:
        ValueError: the weights or documents have the wrong form or values, so that the file could not be read.
        OSError: the disk is full or not writable; `path` is as it was.
    """
    _, layers, experts = weights.shape
    sizes = {"format": FORMAT, "version": VERSION, "layers": str(layers), "experts": str(experts)}
    tensors = {"gate_weights": np.ascontiguousarray(weights), "document": np.ascontiguousarray(document)}
    try:
        with replacing(path) as part:
            part.write_bytes(save(tensors, {**metadata, **sizes}))
            _checked(part)
    except ValueError as error:
        raise ValueError(f"{path} was not written: {error}") from error


def _checked(path: Path) -> Content:
    try:
        header = _header(path)
        # It checks the header as a whole, and that the tensors fill the file.
        with safe_open(path, framework="np") as file:
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ValueError(f"it is broken, or no safetensors file ({error})") from error
    return _content(path, header, metadata)


def _header(path: Path) -> bytes:
    """The length and the JSON text that a file begins with."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes, expected at most {MAX_BYTES:,}")
    with path.open("rb") as file:
        start = file.read(8)
        if (length := int.from_bytes(start, "little")) > MAX_HEADER_BYTES:
            raise ValueError(f"its header is said to have {length:,} bytes, expected at most {MAX_HEADER_BYTES:,}")
        return start + file.read(length)


def _content(path: Path, header: bytes, metadata: dict[str, str]) -> Content:
    for key, expected in (("format", FORMAT), ("version", VERSION)):
        if metadata.get(key) != expected:
            raise ValueError(f"{key} in its header is {metadata.get(key)!r:.60}, expected {expected!r}")
    tensors = {name: entry for name, entry in json.loads(header[8:]).items() if name != "__metadata__"}
    if (names := sorted(tensors)) != ["document", "gate_weights"]:
        raise ValueError(f"it holds {', '.join(names) or 'nothing':.200}, expected document and gate_weights")
    (kind, shape), (document, length) = ((tensors[n]["dtype"], tuple(tensors[n]["shape"])) for n in reversed(names))
    if kind not in TOLERANCE or len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"gate_weights is {kind} {shape}, expected F16 or F32 (tokens, layers, experts)")
    if document != "I32" or length != shape[:1]:
        raise ValueError(f"document is {document} {length}, expected I32 {shape[:1]}")
    _check_sizes(metadata, shape)
    starts = {name: len(header) + int(entry["data_offsets"][0]) for name, entry in tensors.items()}
    index = Values(path, length, np.dtype("<i4"), starts["document"])[:].astype(np.int32)
    if index.min() < 0 or (np.diff(index) < 0).any():
        raise ValueError("document falls or is negative, expected indices that never fall")
    values = Values(path, shape, np.dtype("<f2" if kind == "F16" else "<f4"), starts["gate_weights"])
    _check_values(values, shape, TOLERANCE[kind] + (_LEAST_F16 * shape[2] if kind == "F16" else 0.0))
    return Content(values, shape, index, metadata)


def _check_sizes(metadata: Mapping[str, str], shape: tuple[int, ...]) -> None:
    for key, size in (("layers", shape[1]), ("experts", shape[2])):
        if metadata.get(key) != str(size):
            raise ValueError(f"{key} in its header is {metadata.get(key)!r:.60}, but gate_weights has {size}")
    top_k = metadata.get("top_k", "")
    if not (top_k.isascii() and top_k.isdigit() and len(top_k) < 9 and 1 <= int(top_k) <= shape[2]):
        raise ValueError(f"top_k in its header is {top_k!r:.60}, expected 1 to {shape[2]} experts")


def _check_values(values: Values, shape: tuple[int, int, int], tolerance: float) -> None:
    tokens, layers, experts = shape
    for start in range(0, tokens, step := max(1, _CHUNK_VALUES // (layers * experts))):
        chunk = np.asarray(values[start : min(start + step, tokens)], dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            total = chunk.sum(axis=-1)
            # NaN fails every comparison, and so does what infinity adds up to.
            fine = (np.abs(total - 1.0) <= tolerance) & (chunk >= 0.0).all(axis=-1)
        if not fine.all():
            token, layer = (int(i) for i in np.argwhere(~fine)[0])
            raise ValueError(
                f"gate_weights of token {start + token} in layer {layer} sum to {total[token, layer]:g}, the least is "
                f"{chunk[token, layer].min():g}; expected a sum of 1 within {tolerance:.2g}, and none below 0"
            )
