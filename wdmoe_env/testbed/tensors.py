"""Activations as bytes: float32, float16, or int8 with a scale a row; padding behind them is never looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from wdmoe_env.testbed.messages import Dtype, WireError

VALUE_BYTES: Final[dict[Dtype, int]] = {"float32": 4, "float16": 2, "int8": 1}
_TORCH: Final = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}
_SCALE_BYTES: Final = 4


def row_bytes(dtype: Dtype, width: int) -> int:
    """Bytes of one row of `width` values."""
    return VALUE_BYTES[dtype] * width + (_SCALE_BYTES if dtype == "int8" else 0)


def quantise(rows: Tensor, dtype: Dtype) -> tuple[Tensor, ...]:
    """(T, H) rows as they go onto the wire; values outside float16 become its largest, rather than infinite.

    int8: in units of a scale each, (T, 1) float32, which comes second.
    """
    if dtype == "int8":
        values = rows.float()
        scale = values.abs().amax(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / 127.0
        return (values / scale).round().to(torch.int8), scale
    if dtype == "float16" and rows.dtype != torch.float16:
        most = torch.finfo(torch.float16).max
        rows = rows.clamp(-most, most)
    return (rows.to(_TORCH[dtype]),)


def encode(quantised: Sequence[Tensor]) -> list[memoryview]:
    """Bytes of quantised rows: all values, and behind them the scales, if there are any."""
    return [_bytes(part) for part in quantised]


def decode(data: memoryview, tokens: int, width: int, dtype: Dtype) -> Tensor:
    """(T, H) rows of what `encode` gave, float32.

    Raises:
        WireError: there are too few bytes.
    """
    if len(data) < (size := tokens * row_bytes(dtype, width)):
        raise WireError(f"a payload has {len(data):,} bytes, expected {size:,} of {tokens} rows of {width} {dtype}")
    count = tokens * width
    if count == 0:
        return torch.zeros((tokens, width))
    rows = torch.frombuffer(data, dtype=_TORCH[dtype], count=count).reshape(tokens, width).float()
    if dtype == "int8":
        # By NumPy: its place need not be a multiple of 4.
        scales = np.frombuffer(data, dtype=np.float32, count=tokens, offset=count)
        rows = rows * torch.from_numpy(scales.copy())[:, None]
    return rows


def check_finite(rows: Tensor) -> None:
    """Raise a WireError unless all values are finite."""
    # A sum is finite only where all are: one pass, no mask; a second one where single precision may just overflow.
    if not math.isfinite(float(rows.sum())) and not math.isfinite(float(rows.sum(dtype=torch.float64))):
        raise WireError(f"{len(rows)} rows hold values that are not finite")


def encode_weights(weights: Tensor) -> memoryview:
    """Bytes of (T, M) weights of tokens in experts, float32."""
    return _bytes(weights.float())


def decode_weights(data: memoryview, tokens: int, experts: int) -> Tensor:
    """(T, M) float32 weights of what `encode_weights` gave.

    Raises:
        WireError: there are too few bytes.
    """
    if len(data) < (size := 4 * tokens * experts):
        raise WireError(f"a payload has {len(data):,} bytes of weights, expected {size:,}")
    return torch.from_numpy(
        np.frombuffer(data, dtype=np.float32, count=tokens * experts).reshape(tokens, experts).copy()
    )


def _bytes(values: Tensor) -> memoryview:
    if values.numel() == 0:
        return memoryview(b"")
    array: Any = values.detach().cpu().contiguous().numpy()
    return memoryview(array).cast("B")
