"""Which streams are read, and what is made of the losses; the model itself is a stand-in here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.toy import toy

pytest.importorskip("torch")
pytest.importorskip("transformers")

from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.plan import Plan
from evaluation.episodes.reading import Reader
from wdmoe_env import Observation, Simulator

SCENARIO = toy(tokens=4, traffic={"passes_per_episode": 2})


class Bytes:
    """Every byte is a token."""

    is_fast = False

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode())}


class Model:
    """Takes a nat for each byte's value, or says what it was told to."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def check_fits(self, scenario: Any) -> None:
        if self.fault == "fit":
            raise ValueError("model.layers is 2, expected 3")

    def read(self, tokens: Any, simulator: Simulator, act: Any) -> Any:
        if self.fault == "read":
            raise ValueError("gate_weights holds a number that is not finite")
        nats = tokens[:, 1:].astype(float)
        return nats * np.nan if self.fault == "nan" else nats


def reader(documents: int = 3, fault: str = "") -> Reader:
    model: Any = Model(fault)
    texts = tuple((f"{index}.txt", chr(ord("a") + index) * 21) for index in range(documents))
    return Reader(model, Bytes(), texts, {})


def act(observation: Observation) -> Any:
    raise AssertionError("the stand-in decides nothing")


def test_each_episode_has_a_stream_of_its_own() -> None:
    reading = reader().reading(SCENARIO, Plan(6))
    assert reading.fit == 6
    assert sorted(reading.streams.document) == [0, 0, 1, 1, 2, 2]
    assert reading.facts() == {
        "streams": 6,
        "fit": 6,
        "tokens_per_stream": 8,
        "documents": 3,
        "bytes": 42,
        "intervals_over": "streams",
    }


def test_the_seed_decides_the_streams_and_more_episodes_add_to_them() -> None:
    documents = reader(40)
    few, many = (documents.reading(SCENARIO, Plan(episodes)).streams for episodes in (5, 60))
    np.testing.assert_array_equal(many.tokens[:5], few.tokens)
    again, other = (documents.reading(SCENARIO, Plan(60, seed=seed)).streams for seed in (0, 1))
    np.testing.assert_array_equal(many.document, again.document)
    assert not np.array_equal(many.document, other.document)


def test_bits_are_counted_for_a_byte_and_perplexity_for_a_token() -> None:
    reading = reader().reading(SCENARIO, Plan(6))
    found = reading.read(slice(2, 5), Simulator(SCENARIO, 3), act)
    value = np.array([97.0, 98.0, 99.0])[reading.streams.document[2:5]]
    np.testing.assert_allclose(found["bits_per_byte"], value / np.log(2))
    np.testing.assert_allclose(found["perplexity"], np.exp(value))
    wide = replace(reading, streams=replace(reading.streams, bytes=reading.streams.bytes * 2))
    halved = wide.read(slice(2, 5), Simulator(SCENARIO, 3), act)
    np.testing.assert_allclose(halved["bits_per_byte"], value / np.log(2) / 2)
    np.testing.assert_allclose(halved["perplexity"], np.exp(value))


@pytest.mark.parametrize(("documents", "by_document"), [(4, False), (5, True)])
def test_documents_are_what_episodes_have_in_common_where_there_are_enough(documents: int, by_document: bool) -> None:
    reading = reader(documents).reading(SCENARIO, Plan(2 * documents))
    assert reading.by_document is by_document
    assert len(np.unique(reading.clusters)) == (documents if by_document else 2 * documents)
    assert reading.facts()["intervals_over"] == ("documents" if by_document else "streams")


def test_text_that_is_too_short_says_how_many_episodes_fit() -> None:
    with pytest.raises(EvaluationError, match=r"holds 6 streams of 8 tokens .*'toy'.* at most --episodes 6 fit, not 7"):
        reader().reading(SCENARIO, Plan(7))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("fit", "--model in scenario 'toy': model.layers is 2, expected 3"),
        ("read", "--model in scenario 'toy': gate_weights holds a number that is not finite"),
        ("nan", "--model in scenario 'toy': the loss of a token is not finite"),
    ],
)
def test_what_goes_wrong_names_the_scenario(fault: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        reader(fault=fault).reading(SCENARIO, Plan(2)).read(slice(0, 2), Simulator(SCENARIO, 2), act)
