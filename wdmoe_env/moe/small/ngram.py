"""A byte n-gram model with interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998), in NumPy.

Contexts of every length get a number: that of the context one byte shorter, extended by the byte further left. So all
lengths work with sorted arrays of 64-bit keys, and nothing is hashed. Before its first byte a text holds marks, so
that texts do not run into each other. Lengths are counted one after the other, and only two are held at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BYTES = 256
MARK = 256
"""What stands before the first byte of a text."""
SYMBOLS = 257
UNSEEN = -1

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def bits(train: Sequence[bytes], texts: Sequence[bytes], longest: int) -> Floats:
    """Bits that each text takes after counting `train`, with contexts of at most 0, 1, … `longest` bytes.

    Args:
        train: texts to count.
        texts: T texts to predict.
        longest: bytes of the longest context.

    Returns:
        (longest + 1, T) bits.

    Raises:
        ValueError: `train` holds no bytes, or `longest` is negative.
    """
    stream = _Stream.of(texts, longest)
    found = _predict(_levels(train, longest), stream)
    ends = np.cumsum([len(text) for text in texts])
    # Differences of one running sum: reduceat would stumble over empty texts.
    sums = [np.concatenate([[0.0], np.cumsum(-np.log2(probability))])[np.r_[0, ends]] for probability in found]
    return np.diff(np.array(sums), axis=1)


def probabilities(train: Sequence[bytes], context: bytes, longest: int) -> Floats:
    """Probabilities of all bytes after the beginning of a text, (256,); they sum to 1. Errors as those of `bits`."""
    stream = _Stream.of([context + bytes([byte]) for byte in range(BYTES)], longest)
    last = np.arange(1, BYTES + 1) * (len(context) + 1) - 1
    return list(_predict(_levels(train, longest), stream))[-1][last]


@dataclass(frozen=True)
class _Stream:
    """Texts in a row, with marks before each.

    Attributes:
        symbols: bytes and marks.
        places: (P,) where the bytes are in `symbols`.
    """

    symbols: NDArray[np.int16]
    places: Integers

    @classmethod
    def of(cls, texts: Sequence[bytes], longest: int) -> _Stream:
        if longest < 0:
            raise ValueError(f"longest={longest}, expected a whole number of bytes >= 0")
        marks = np.full(longest, MARK, dtype=np.int16)
        parts = [part for text in texts for part in (marks, np.frombuffer(text, dtype=np.uint8).astype(np.int16))]
        symbols = np.concatenate(parts) if parts else marks
        return cls(symbols, np.flatnonzero(symbols != MARK))

    def before(self, distance: int) -> NDArray[np.int16]:
        """The symbol so many places before each byte; 0 is the byte itself, (P,)."""
        return self.symbols[self.places - distance]


@dataclass(frozen=True)
class _Smoothed:
    """Counts of what follows contexts, and what is discounted from them.

    Attributes:
        counts: (G,) of the level's grams.
        total: (C,) sum of the counts of each context.
        left: (C,) what the discounts take from the counts of each context, for shorter contexts to share out.
        discounts: (4,) taken from a count of 0, 1, 2, and 3 or more.
    """

    counts: Integers
    total: Floats
    left: Floats
    discounts: Floats

    @classmethod
    def of(cls, grams: Integers, counts: Integers) -> _Smoothed:
        taken, context = discounts(counts), grams // BYTES
        total = np.bincount(context, counts).astype(np.float64)
        left = np.bincount(context, taken[np.minimum(counts, 3)]).astype(np.float64)
        return cls(counts, total, left, taken)

    def mix(self, context: Integers, gram: Integers, shorter: Floats) -> Floats:
        """Probabilities of bytes, from the numbers of their contexts and grams and those after shorter contexts."""
        count = np.where(gram == UNSEEN, 0, self.counts[gram])
        own = count - self.discounts[np.minimum(count, 3)]
        mixed = (own + self.left[context] * shorter) / self.total[context]
        return np.where(context == UNSEEN, shorter, mixed)


@dataclass(frozen=True)
class _Level:
    """All contexts of one length.

    Attributes:
        contexts: (C,) sorted keys: number of the context that is a byte shorter * 257 + symbol further left.
        grams: (G,) sorted keys: number of the context * 256 + byte that follows.
        as_longest: how often each gram occurs.
        as_shorter: how many different symbols stand before each gram; None for the longest contexts.
    """

    contexts: Integers
    grams: Integers
    as_longest: _Smoothed
    as_shorter: _Smoothed | None


def discounts(counts: Integers) -> Floats:
    """Discounts of counts of 0, 1, 2, and 3 or more, by how many counts are 1 to 4; (4,), the first is 0.

    Where one of these numbers is 0, as with very little text, a half is taken.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6).astype(np.float64)
    if not n[1:5].all():
        return np.array([0.0, 0.5, 0.5, 0.5])
    share = n[1] / (n[1] + 2 * n[2])
    # A discount below 0 would make a probability negative further down.
    return np.array([0.0, *(np.clip(k - (k + 1) * share * n[k + 1] / n[k], 0.05, k - 0.05) for k in (1, 2, 3))])


def _levels(train: Sequence[bytes], longest: int) -> Iterator[_Level]:
    """Count contexts of 0, 1, … bytes."""
    if not any(train):
        raise ValueError("train holds no bytes, expected at least one")
    stream = _Stream.of(train, longest)
    byte = stream.before(0)
    context, contexts = np.zeros(len(byte), dtype=np.int64), np.zeros(1, dtype=np.int64)
    grams, counts = np.unique(context * BYTES + byte, return_counts=True)
    for length in range(1, longest + 1):
        longer, context = np.unique(context * SYMBOLS + stream.before(length), return_inverse=True)
        longer_grams, longer_counts = np.unique(context * BYTES + byte, return_counts=True)
        parents = longer[longer_grams // BYTES] // SYMBOLS
        # Every gram has a symbol before it, so the keys are those of `grams`.
        _, before = np.unique(parents * BYTES + longer_grams % BYTES, return_counts=True)
        yield _Level(contexts, grams, _Smoothed.of(grams, counts), _Smoothed.of(grams, before))
        contexts, grams, counts = longer, longer_grams, longer_counts
    yield _Level(contexts, grams, _Smoothed.of(grams, counts), None)


def _predict(levels: Iterator[_Level], stream: _Stream) -> Iterator[Floats]:
    """Probabilities of the bytes of a stream with contexts of at most 0, 1, … bytes, (P,) each."""
    byte = stream.before(0)
    context = np.zeros(len(byte), dtype=np.int64)
    shorter = np.full(len(byte), 1 / BYTES)
    for length, level in enumerate(levels):
        if length:
            context = _number(level.contexts, context, SYMBOLS, stream.before(length))
        gram = _number(level.grams, context, BYTES, byte)
        yield level.as_longest.mix(context, gram, shorter)
        if level.as_shorter is not None:
            shorter = level.as_shorter.mix(context, gram, shorter)


def _number(keys: Integers, parent: Integers, base: int, symbol: NDArray[np.int16]) -> Integers:
    """Places of `parent * base + symbol` among sorted keys; UNSEEN where the parent is, or where there is none."""
    key = np.where(parent == UNSEEN, UNSEEN, parent * base + symbol)
    place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
    return np.where(keys[place] == key, place, UNSEEN)
