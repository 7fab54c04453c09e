"""Activations as bytes and back."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("msgspec")

from wdmoe_env.testbed.messages import Dtype, WireError
from wdmoe_env.testbed.tensors import check_finite, decode, decode_weights, encode, encode_weights, quantise, row_bytes

ROWS = torch.randn((7, 33), generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 7)[:, None]


def joined(rows, dtype: Dtype) -> memoryview:
    return memoryview(bytearray(b"".join(encode(quantise(rows, dtype)))))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.0), ("float16", 1e-3), ("int8", 1 / 127)])
def test_rows_come_back(dtype: Dtype, tolerance: float) -> None:
    data = joined(ROWS, dtype)
    assert len(data) == 7 * row_bytes(dtype, 33)
    found = decode(data, 7, 33, dtype)
    error = (found - ROWS).abs().amax(dim=1) / ROWS.abs().amax(dim=1)
    assert float(error.max()) <= tolerance


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_padding_is_never_looked_at(dtype: Dtype) -> None:
    data = joined(ROWS, dtype)
    padded = memoryview(bytearray(bytes(data) + b"\xff" * 100))
    assert torch.equal(decode(padded, 7, 33, dtype), decode(data, 7, 33, dtype))


def test_what_float16_cannot_hold_is_clipped() -> None:
    found = decode(joined(torch.tensor([[1e6, -1e6]]), "float16"), 1, 2, "float16")
    assert found.tolist() == [[65504.0, -65504.0]]


def test_rows_of_zeros_have_a_scale_too() -> None:
    assert decode(joined(torch.zeros((2, 3)), "int8"), 2, 3, "int8").abs().max() == 0.0


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_no_rows(dtype: Dtype) -> None:
    assert decode(joined(torch.zeros((0, 3)), dtype), 0, 3, dtype).shape == (0, 3)


def test_too_few_bytes_are_named() -> None:
    with pytest.raises(WireError, match=r"has 4 bytes, expected 12 of 1 rows of 3 float32"):
        decode(memoryview(bytearray(4)), 1, 3, "float32")
    with pytest.raises(WireError, match=r"has 4 bytes of weights, expected 8"):
        decode_weights(memoryview(bytearray(4)), 1, 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    bad = torch.tensor([[1.0, value]])
    with pytest.raises(WireError, match="not finite"):
        check_finite(bad)


def test_a_sum_that_overflows_single_precision_is_finite() -> None:
    check_finite(torch.full((4, 4), 3e38))


def test_weights_come_back() -> None:
    weights = torch.rand((5, 3))
    assert torch.equal(decode_weights(encode_weights(weights), 5, 3), weights)
