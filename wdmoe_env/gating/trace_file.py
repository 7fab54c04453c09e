"""The file format of recorded gate weights: safetensors, written whole or not at all, checked before it is used.

Tensors: `gate_weights` (tokens, layers, experts) float16 or float32, the router's softmax over all experts; `document`
(tokens,) int32, never falling, the context that a token stood in. The header's metadata names the format, its version,
`layers`, `experts` and `top_k`, and tells where the weights come from.
"""

from __future__ import annotations

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
class Content:
    """What a checked file holds.

    Attributes:
        values: the gate weights; a slice of tokens reads them from the file.
        shape: tokens, layers, experts.
        document: (tokens,) int32.
        metadata: what the header tells.
    """

    values: Any
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
        _check_header(path)
        with safe_open(path, framework="np") as file:
            return _content(file)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"it is broken, or no safetensors file ({error})") from error


def _check_header(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes, expected at most {MAX_BYTES:,}")
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > MAX_HEADER_BYTES:
        raise ValueError(f"its header is said to have {header:,} bytes, expected at most {MAX_HEADER_BYTES:,}")


def _content(file: Any) -> Content:
    metadata = dict(file.metadata() or {})
    for key, expected in (("format", FORMAT), ("version", VERSION)):
        if metadata.get(key) != expected:
            raise ValueError(f"{key} in its header is {metadata.get(key)!r:.60}, expected {expected!r}")
    if (names := sorted(file.keys())) != ["document", "gate_weights"]:
        raise ValueError(f"it holds {', '.join(names) or 'nothing':.200}, expected document and gate_weights")
    values, document = file.get_slice("gate_weights"), file.get_slice("document")
    shape, kind = tuple(values.get_shape()), values.get_dtype()
    if kind not in TOLERANCE or len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"gate_weights is {kind} {shape}, expected F16 or F32 (tokens, layers, experts)")
    if document.get_dtype() != "I32" or tuple(document.get_shape()) != shape[:1]:
        form = f"{document.get_dtype()} {tuple(document.get_shape())}"
        raise ValueError(f"document is {form}, expected I32 {shape[:1]}")
    _check_sizes(metadata, shape)
    index = np.array(document[:], dtype=np.int32)
    if index.min() < 0 or (np.diff(index) < 0).any():
        raise ValueError("document falls or is negative, expected indices that never fall")
    _check_values(values, shape, TOLERANCE[kind] + (_LEAST_F16 * shape[2] if kind == "F16" else 0.0))
    return Content(values, shape, index, metadata)


def _check_sizes(metadata: Mapping[str, str], shape: tuple[int, ...]) -> None:
    for key, size in (("layers", shape[1]), ("experts", shape[2])):
        if metadata.get(key) != str(size):
            raise ValueError(f"{key} in its header is {metadata.get(key)!r:.60}, but gate_weights has {size}")
    top_k = metadata.get("top_k", "")
    if not (top_k.isascii() and top_k.isdigit() and len(top_k) < 9 and 1 <= int(top_k) <= shape[2]):
        raise ValueError(f"top_k in its header is {top_k!r:.60}, expected 1 to {shape[2]} experts")


def _check_values(values: Any, shape: tuple[int, int, int], tolerance: float) -> None:
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
