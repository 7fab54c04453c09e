"""Texts as contexts of tokens that a model reads each for itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

from wdmoe_env.files import safe
from wdmoe_env.files.safe import StorageError

MAX_TEXT_BYTES = 2**28


@dataclass(frozen=True)
class Contexts:
    """Pieces of texts, none of which crosses from one file into another.

    Attributes:
        start: tokens that stand before each context, which the model reads but which are no text: its first token.
        pieces: token ids of each context.
    """

    start: tuple[int, ...]
    pieces: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        """Tokens of text."""
        return sum(map(len, self.pieces))

    def batches(self, size: int) -> Iterator[list[tuple[int, ...]]]:
        """Up to `size` successive contexts of one length."""
        for _, group in groupby(self.pieces, key=len):
            alike = list(group)
            yield from (alike[first : first + size] for first in range(0, len(alike), size))


def read_contexts(files: Sequence[Path], tokenizer: Any, length: int, most: int | None) -> Contexts:
    """Cut texts into contexts of `length` tokens; the rest of a file is a shorter one.

    The contexts of several files take turns, so that `most` tokens are of all of them, and each part of a trace, too.

    Raises:
        ValueError: a file is no text in UTF-8, too large, or all are empty.
    """
    ids = [tokenizer(read_text(file), add_special_tokens=False)["input_ids"] for file in files]
    cut = [[tuple(i[first : first + length]) for first in range(0, len(i), length)] for i in ids]
    turns = [piece for row in zip_longest(*cut) for piece in row if piece]
    if not turns:
        raise ValueError(f"--text {' '.join(map(str, files))} holds no tokens")
    pieces, left = [], sum(map(len, turns)) if most is None else most
    for piece in turns:
        if left > 0:
            pieces.append(piece[:left])
            left -= len(piece)
    return Contexts(_start(tokenizer), tuple(pieces))


def read_text(file: Path) -> str:
    """The text of a file in UTF-8.

    Raises:
        ValueError: it is none, missing or too large.
    """
    try:
        return safe.read_text(file, MAX_TEXT_BYTES)
    except StorageError as error:
        raise ValueError(f"--text {error}") from error


def _start(tokenizer: Any) -> tuple[int, ...]:
    """The token that the tokenizer puts before a text, where it does: models are trained to begin with it."""
    first = tokenizer.bos_token_id
    return (first,) if first is not None and tokenizer("a")["input_ids"][:1] == [first] else ()
