"""Activations as bytes: float32, float16, or int8 with a scale a row; padding behind them is never looked at."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from wdmoe_env.testbed.wire import Dtype, WireError

VALUE_BYTES: Final[dict[Dtype, int]] = {"float32": 4, "float16": 2, "int8": 1}
_TORCH: Final = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}
_SCALE_BYTES: Final = 4


def row_bytes(dtype: Dtype, width: int) -> int:
    """Bytes of one row of `width` values."""
    return VALUE_BYTES[dtype] * width + (_SCALE_BYTES if dtype == "int8" else 0)


def encode(rows: Tensor, dtype: Dtype) -> list[memoryview]:
    """Bytes of (T, H) rows. Values outside float16 become its largest, rather than infinite.

    int8: the rows in units of a scale each, the scales (float32) behind all of them.
    """
    if dtype == "int8":
        values = rows.float()
        scale = values.abs().amax(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / 127.0
        return [_bytes((values / scale).round().to(torch.int8)), _bytes(scale)]
    if dtype == "float16" and rows.dtype != torch.float16:
        most = torch.finfo(torch.float16).max
        rows = rows.clamp(-most, most)
    return [_bytes(rows.to(_TORCH[dtype]))]


def decode(data: memoryview, tokens: int, width: int, dtype: Dtype) -> Tensor:
    """(T, H) rows of what `encode` gave, float32; for float32 and float16 a copy is made only where it must be.

    Raises:
        WireError: there are too few bytes, or a value is not finite.
    """
    if len(data) < (size := tokens * row_bytes(dtype, width)):
        raise WireError(f"a payload has {len(data):,} bytes, expected {size:,} of {tokens} rows of {width} {dtype}")
    count = tokens * width
    if count == 0:
        return torch.zeros((tokens, width))
    rows = torch.frombuffer(data, dtype=_TORCH[dtype], count=count).reshape(tokens, width).float()
    if dtype == "int8":
        # A copy: its place need not be a multiple of 4.
        scales = bytearray(data[count : count + tokens * _SCALE_BYTES])
        rows = rows * torch.frombuffer(scales, dtype=torch.float32).reshape(tokens, 1)
    # A sum is finite where all are, but for an overflow of as good as impossible size: one pass, no mask.
    if not torch.isfinite(rows.sum(dtype=torch.float64)):
        raise WireError(f"a payload of {tokens} rows holds values that are not finite")
    return rows


def encode_weights(weights: Tensor) -> memoryview:
    """Bytes of (T, M) weights of tokens in experts, float32."""
    return _bytes(weights.float())


def decode_weights(data: memoryview, tokens: int, experts: int) -> Tensor:
    """(T, M) float32 weights of what `encode_weights` gave.

    Raises:
        WireError: there are too few bytes, or a value is not finite.
    """
    if len(data) < (size := 4 * tokens * experts):
        raise WireError(f"a payload has {len(data):,} bytes of weights, expected {size:,}")
    if size == 0:
        return torch.zeros((tokens, experts))
    weights = torch.frombuffer(bytearray(data[:size]), dtype=torch.float32).reshape(tokens, experts)
    if not torch.isfinite(weights.sum()):
        raise WireError("weights hold values that are not finite")
    return weights


def _bytes(values: Tensor) -> memoryview:
    if values.numel() == 0:
        return memoryview(b"")
    array: Any = values.detach().cpu().contiguous().numpy()
    return memoryview(array).cast("B")
