from collections import Counter, defaultdict
from math import log2
from typing import Any

import numpy as np
import pytest

from wdmoe_env.moe.small import ngram

TRAIN = [
    b"the cat sat on the mat; the dog sat on the cat",
    b"",
    b"a cat and a dog and the rat that sat",
    b"\x00\xff\xff",
]
HELD_OUT = [b"the rat sat on a dog", b"\xfe", b"", b"the cat"]


class Slow:
    """The same model, written from the formulas of Chen and Goodman (1998) with dictionaries."""

    def __init__(self, texts: list[bytes], longest: int) -> None:
        self.grams: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(longest + 1)]
        for text in texts:
            padded = [256] * longest + list(text)
            for place in range(longest, len(padded)):
                for length in range(longest + 1):
                    self.grams[length][tuple(padded[place - length : place + 1])] += 1
        for length in range(longest):
            before = Counter(gram[1:] for gram in self.grams[length + 1])
            self.grams[length] = before
        self.discounts = [ngram.discounts(np.array(list(grams.values()))) for grams in self.grams]
        self.after: list[dict[Any, Any]] = [defaultdict(list) for _ in self.grams]
        for after, grams in zip(self.after, self.grams, strict=True):
            for gram, count in grams.items():
                after[gram[:-1]].append(count)

    def probability(self, context: tuple[int, ...], byte: int) -> float:
        length = len(context)
        shorter = self.probability(context[1:], byte) if length else 1 / 256
        counts = self.after[length][context]
        if not counts:
            return shorter
        discount = self.discounts[length]
        count = self.grams[length][(*context, byte)]
        left = sum(discount[min(other, 3)] for other in counts)
        return (count - discount[min(count, 3)] + left * shorter) / sum(counts)

    def bits(self, text: bytes, longest: int) -> float:
        padded = [256] * longest + list(text)
        places = range(longest, len(padded))
        return -sum(log2(self.probability(tuple(padded[p - longest : p]), padded[p])) for p in places)


@pytest.mark.parametrize("longest", [0, 1, 3, 5])
def test_bits_are_those_of_the_formulas(longest: int) -> None:
    slow = Slow(TRAIN, longest)
    found = ngram.bits(TRAIN, HELD_OUT, longest)
    assert found.shape == (longest + 1, len(HELD_OUT))
    assert found[-1] == pytest.approx([slow.bits(text, longest) for text in HELD_OUT])


def test_every_length_is_that_of_a_model_of_its_own() -> None:
    found = ngram.bits(TRAIN, HELD_OUT, 4)
    for longest in range(4):
        assert found[longest] == pytest.approx(ngram.bits(TRAIN, HELD_OUT, longest)[-1])


@pytest.mark.parametrize("context", [b"", b"the ", b"\x80\x81", b"sat on the c", b"zzzthe"])
@pytest.mark.parametrize("longest", [0, 2, 6])
def test_probabilities_sum_to_one(context: bytes, longest: int) -> None:
    found = ngram.probabilities(TRAIN, context, longest)
    assert found.shape == (256,)
    assert (found > 0).all()
    assert found.sum() == pytest.approx(1, abs=1e-12)


def test_longer_contexts_beat_single_bytes() -> None:
    text = [bytes(range(65, 91)) * 3]
    found = ngram.bits([bytes(range(65, 91)) * 40], text, 2)[:, 0]
    assert found[1] < found[0] / 4


def test_discounts_come_from_counts_of_counts() -> None:
    counts = np.repeat([1, 2, 3, 4, 9], [8, 4, 2, 1, 5])
    # Y = 8 / (8 + 2 * 4) = 1/2
    assert ngram.discounts(counts) == pytest.approx([0, 1 - 2 * 0.5 * 4 / 8, 2 - 3 * 0.5 * 2 / 4, 3 - 4 * 0.5 * 1 / 2])
    assert ngram.discounts(np.array([1, 1, 7])) == pytest.approx([0, 0.5, 0.5, 0.5])


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match="longest=-1, expected"):
        ngram.bits(TRAIN, HELD_OUT, -1)
    with pytest.raises(ValueError, match="train holds no bytes"):
        ngram.bits([b""], HELD_OUT, 2)
