"""Streams of tokens: where they are cut, and how many bytes of text they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

transformers = pytest.importorskip("transformers")

from wdmoe_env.moe.streams import cut  # noqa: E402

TEXT = "Ünïcode: 日本語 and </s> plain words, again and again.\n" * 4


def by_bytes() -> Any:
    return transformers.ByT5Tokenizer(extra_ids=0)


def fast() -> Any:
    """A byte-level BPE, as of GPT-2, trained on the text."""
    tokenizers = pytest.importorskip("tokenizers")
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=290, initial_alphabet=letters, special_tokens=["</s>"])
    bpe.train_from_iterator(["plain words and again"], trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>")


class Slow:
    """Knows words alone, and no offsets."""

    is_fast = False

    def __init__(self, loses: str = "") -> None:
        self._words: list[str] = []
        self._loses = loses

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        self._words = text.replace(" ", " \n").split("\n")
        return {"input_ids": list(range(len(self._words)))}

    def decode(self, ids: Any, **_: Any) -> str:
        text = "".join(self._words[index] for index in ids)
        return text.replace(self._loses, "") if self._loses else text


def test_a_byte_is_a_token() -> None:
    found = cut([("a", TEXT), ("short", "abc"), ("b", "x" * 25)], by_bytes(), 10)
    size = len(TEXT.encode())
    assert found.tokens.shape == (size // 10 + 2, 10)
    assert (found.bytes == 9).all()
    np.testing.assert_array_equal(found.document, [0] * (size // 10) + [2, 2])
    expected = np.frombuffer(TEXT.encode(), dtype=np.uint8)[: size // 10 * 10].reshape(-1, 10).astype(int) + 3
    np.testing.assert_array_equal(found.tokens[:-2], expected)


def test_offsets_count_each_byte_once() -> None:
    tokenizer = fast()
    ids = tokenizer(TEXT, split_special_tokens=True)["input_ids"]
    assert tokenizer.eos_token_id not in ids
    assert len(ids) < len(TEXT.encode())
    assert cut([("a", TEXT)], tokenizer, len(ids)).bytes.tolist() == [len(TEXT.encode()) - 2]  # all but the Ü
    eights = cut([("a", TEXT)], tokenizer, 8)
    offsets = tokenizer(TEXT, split_special_tokens=True, return_offsets_mapping=True)["offset_mapping"]
    ends = [end for _, end in offsets]
    expected = [len(TEXT[ends[8 * row] : ends[8 * row + 7]].encode()) for row in range(len(eights))]
    assert eights.bytes.tolist() == expected


def test_text_is_decoded_where_there_is_nothing_else() -> None:
    found = cut([("a", "one two three äö six")], Slow(), 5)
    assert found.bytes.tolist() == [len("two three äö six".encode())]


def test_a_tokenizer_that_loses_text_is_refused() -> None:
    with pytest.raises(ValueError, match="document 'a': Slow does not give back the text that it has read"):
        cut([("a", "one two three")], Slow(loses="w"), 2)


def test_nothing_fits() -> None:
    found = cut([("a", "abc")], by_bytes(), 4)
    assert (len(found), found.tokens.shape, found.bytes.shape) == (0, (0, 4), (0,))


def test_some_of_the_streams() -> None:
    found = cut([("a", "0123456789")], by_bytes(), 2).take(np.array([3, 0]))
    np.testing.assert_array_equal(found.tokens - 3, [[ord("6"), ord("7")], [ord("0"), ord("1")]])
    assert len(found) == 2


def test_one_token_is_too_short() -> None:
    with pytest.raises(ValueError, match="streams of 1 token have none"):
        cut([("a", "abc")], by_bytes(), 1)


def test_tokens_without_text_are_refused() -> None:
    class Empty(Slow):
        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            self._words = [text, "", "", ""]
            return {"input_ids": [0, 1, 2, 3]}

    with pytest.raises(ValueError, match="document 'a': 2 tokens in a row stand for no text"):
        cut([("a", "abc")], Empty(), 2)
