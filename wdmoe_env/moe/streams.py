"""Streams of tokens to read, cut from documents, with the bytes of text that their predicted tokens stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wdmoe_env.arrays import IntArray


@dataclass(frozen=True)
class Streams:
    """S streams of L consecutive tokens each; none crosses the end of its document.

    Attributes:
        tokens: (S, L) ids.
        bytes: (S,) UTF-8 bytes of the text of all tokens but the first, which nothing predicts.
        document: (S,) index of the document that each is from.
    """

    tokens: IntArray
    bytes: IntArray
    document: IntArray

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: IntArray | slice) -> Streams:
        """Some of the streams."""
        return Streams(self.tokens[rows], self.bytes[rows], self.document[rows])


def cut(documents: Sequence[tuple[str, str]], tokenizer: Any, length: int) -> Streams:
    """Cut documents into streams, one after the other from the beginning of each; a shorter rest is left out.

    Bytes are counted to the end of a token's text in its document: by the tokenizer's own offsets, or one a token where
    there are as many tokens as bytes, or else by decoding the tokens up to there. A character that is split over
    tokens is counted with the first of them by offsets, with the last by decoding. Nothing is counted twice.

    Args:
        documents: names and texts.
        tokenizer: a transformers tokenizer. No special tokens are added, and none are read from the text.
        length: L, at least 2.

    Raises:
        ValueError: `length` is too small, the tokenizer loses text, or a stream stands for no text; names the document.
    """
    if length < 2:
        raise ValueError(f"streams of {length} token have none that is predicted from others, expected at least 2")
    tokens: list[IntArray] = [np.zeros((0, length), dtype=np.int64)]
    sizes, origin = list[int](), list[int]()
    for index, (name, text) in enumerate(documents):
        ids, end = _encode(tokenizer, name, text)
        count = len(ids) // length
        tokens.append(ids[: count * length].reshape(count, length))
        found = [end(first + length) - end(first + 1) for first in range(0, count * length, length)]
        if any(size < 1 for size in found):
            raise ValueError(f"document {name!r}: {length} tokens in a row stand for no text, expected some bytes")
        sizes += found
        origin += [index] * count
    return Streams(np.concatenate(tokens), np.array(sizes, dtype=np.int64), np.array(origin, dtype=np.int64))


def _encode(tokenizer: Any, name: str, text: str) -> tuple[IntArray, Callable[[int], int]]:
    """Ids of a text's tokens, and how many bytes of it the first t of them stand for."""
    options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    found = tokenizer(text, return_offsets_mapping=bool(tokenizer.is_fast), **options)
    ids, size = np.asarray(found["input_ids"], dtype=np.int64), len(text.encode())
    if "offset_mapping" in found:
        starts = np.concatenate([[0], np.cumsum([len(character.encode()) for character in text])])
        ends = np.maximum.accumulate([0, *(int(starts[end]) for _, end in found["offset_mapping"])])
        return ids, lambda count: int(ends[count])
    if len(ids) == size:
        return ids, lambda count: count
    if tokenizer.decode(ids, clean_up_tokenization_spaces=False) != text:
        raise ValueError(
            f"document {name!r}: {type(tokenizer).__name__} does not give back the text that it has read, so its bytes "
            "cannot be counted, expected a tokenizer with offsets (a fast one)"
        )
    return ids, lambda count: len(tokenizer.decode(ids[:count], clean_up_tokenization_spaces=False).encode())
