"""Bits per byte of held-out texts: the model against an n-gram model of the same training texts, gzip and xz."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wdmoe_env.moe.small import ngram

Texts = Sequence[tuple[str, bytes]]
MODEL = "the model"
"""Its name in a comparison."""


@dataclass(frozen=True)
class NGramResult:
    """What the n-gram model reached.

    Attributes:
        longest: bytes of the longest context, chosen on the validation texts.
        validation: bits per byte of the validation texts, by longest context from 0 on.
        test: the same of the test texts.
        per_text: bits that each test text takes with the chosen context.
    """

    longest: int
    validation: list[float]
    test: list[float]
    per_text: list[float]


def compressed(texts: Texts) -> dict[str, float]:
    """Bits per byte of gzip -9 and xz -9e, each text alone and all in a row, headers and checksums included.

    Raises:
        ValueError: the texts hold no bytes.
    """
    contents = [content for _, content in texts]
    everything, size = b"".join(contents), _size(texts)
    found = {}
    for name, compress in (("gzip -9", _gzip), ("xz -9e", _xz)):
        found[f"{name}, each file"] = 8 * sum(len(compress(content)) for content in contents) / size
        found[f"{name}, all in a row"] = 8 * len(compress(everything)) / size
    return found


def n_gram(train: Texts, validation: Texts, test: Texts, longest: int) -> NGramResult:
    """Count the training texts, choose the length of context on the validation texts, predict the test texts.

    Raises:
        ValueError: a part holds no bytes, or `longest` is negative.
    """
    sizes = _size(validation), _size(test)
    contents = [content for _, content in (*validation, *test)]
    bits = ngram.bits([content for _, content in train], contents, longest)
    parts = np.split(bits, [len(validation)], axis=1)
    by_length = [part.sum(axis=1) / size for part, size in zip(parts, sizes, strict=True)]
    best = int(by_length[0].argmin())
    return NGramResult(best, by_length[0].tolist(), by_length[1].tolist(), parts[1][best].tolist())


def per_byte(bits: Sequence[float], texts: Texts) -> float:
    """Bits per byte of all texts together, from the bits of each."""
    return sum(bits) / _size(texts)


def comparison(model: float, result: NGramResult, compressors: dict[str, float]) -> dict[str, float]:
    """Bits per byte of all contenders by name, the fewest first."""
    found = {
        MODEL: model,
        f"n-gram, contexts of at most {result.longest} bytes (best on validation)": result.test[result.longest],
        **compressors,
    }
    if len(result.test) > 6 and result.longest != 6:
        found["n-gram, contexts of at most 6 bytes"] = result.test[6]
    return dict(sorted(found.items(), key=lambda item: item[1]))


def rows(test: Texts, model: Sequence[float], result: NGramResult) -> list[dict[str, Any]]:
    """Name, bytes, and bits per byte of the model and the n-gram model, for each test text."""
    return [
        {"file": name, "bytes": len(content), "model": own / len(content), "n_gram": other / len(content)}
        for (name, content), own, other in zip(test, model, result.per_text, strict=True)
    ]


def _size(texts: Texts) -> int:
    if not (size := sum(len(content) for _, content in texts)):
        raise ValueError("the texts hold no bytes, expected at least one")
    return size


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)


def _xz(content: bytes) -> bytes:
    return lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
