"""A link holds a view, and nothing that cannot be gets through it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.view import MAX_QUERY, Piece, View, ViewError, parse, query

fractions = st.integers(0, 1000).map(lambda value: value / 1000)
words = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=40)


@st.composite
def views(draw):
    devices = draw(st.integers(1, 5))
    vector = st.lists(fractions, min_size=devices, max_size=devices).map(tuple)
    shares = st.none() | vector.filter(lambda share: sum(share) > 0)
    steps = sorted(draw(st.sets(st.integers(0, 9999), max_size=4)))
    return View(
        scenario=draw(words),
        a=draw(words),
        b=draw(words),
        seed=draw(st.integers(0, 2**63 - 1)),
        step=draw(st.integers(0, 9999)),
        band=draw(st.none() | st.sampled_from([1e6, 2.5e7, 3.2e9])),
        distance=draw(st.dictionaries(st.integers(0, 99), st.sampled_from([1.0, 20.5, 300.0]), max_size=3)),
        speed=draw(st.dictionaries(st.integers(0, 99), st.sampled_from([0.5, 2.0]), max_size=3)),
        pieces=tuple(Piece(step, draw(vector), draw(shares)) for step in steps),
        lang=draw(st.sampled_from(["en", "zh"])),
    )


@given(views())
def test_a_link_holds_the_whole_view(view):
    assert parse(query(view)) == view


def test_a_link_leaves_out_what_is_as_by_default():
    assert query(View()) == "?"
    assert parse("?") == parse("") == View()
    assert query(View(scenario="jetson", step=3)) == "?scenario=jetson&step=3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("?layer=3", "'layer' is no part of a link"),
        ("?step=3&step=4", "step stands more than once"),
        ("?step=-1", "step is '-1', expected a whole number from 0 to 9,999"),
        ("?step=1e3", "step is '1e3'"),
        ("?step=%D9%A3", "step is '٣', expected a whole number"),
        ("?seed=99999999999999999999", "seed is"),
        ("?band=nan", "band is 'nan', expected a number above 0, at most 1e\\+11"),
        ("?band=0", "band is '0'"),
        ("?band=inf", "band is 'inf'"),
        ("?distance=0:0.5", "distance is '0:0.5', expected a number from 1 to 100000"),
        ("?distance=3", "distance is '3'"),
        ("?speed=x:2", "speed is 'x:2', expected a whole number"),
        ("?lang=fr", "lang is 'fr', expected one of en, zh"),
        ("?pane=admin", "pane is 'admin', expected one of cell, results"),
        ("?scenario=", "scenario is '', expected 1 to 200"),
        ("?scenario=a%00b", "scenario is"),
        ("?pieces=3@2", "pieces is '3@2', expected numbers from 0 to 1"),
        ("?pieces=3@nan", "pieces is '3@nan'"),
        ("?pieces=3@0.1:0", "pieces is '3@0.1:0', expected STEP@PRICES"),
        ("?pieces=3@0.1:0.2,0.3", "pieces is"),
        ("?pieces=4@0.1|3@0.1", "pieces is .* each at a later step"),
        ("?item=" + "x" * MAX_QUERY, "expected at most"),
    ],
)
def test_what_cannot_be_is_refused_by_name(text, message):
    with pytest.raises(ViewError, match=message):
        parse(text)
