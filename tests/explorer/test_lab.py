"""The lab finds what a view speaks of, keeps it, and says what cannot be."""

from dataclasses import replace

import pytest

from explorer.cells.lab import Lab, Recent
from explorer.library import Library
from explorer.view import Piece, View, ViewError


@pytest.fixture
def lab():
    return Lab(Library())


def test_what_was_asked_for_last_is_kept():
    kept: Recent[str, str] = Recent(2)
    made: list[str] = []

    def get(name: str) -> str:
        def make() -> str:
            made.append(name)
            return name.upper()

        return kept.get(name, make)

    assert [get(name) for name in "abacab"] == list("ABACAB")
    assert made == ["a", "b", "c", "b"]
    with pytest.raises(ZeroDivisionError):
        kept.get("x", lambda: str(1 // 0))
    assert kept.peek("x") is None


def test_cells_and_episodes_are_kept_by_what_decides_them(lab):
    view = View()
    episode = lab.episode(view, "wdmoe")
    assert lab.episode(replace(view, step=4, b="random"), "wdmoe") is episode
    assert lab.episode(replace(view, seed=1), "wdmoe") is not episode
    assert lab.episode(replace(view, distance={0: 30.0}), "wdmoe") is not episode
    assert lab.cell(replace(view, band=5e7)).scenario.radio.bandwidth_hz == 5e7


def test_a_take_over_goes_on_from_the_one_before(lab):
    view = View(pieces=(Piece(1, (0.1,) * 8),))
    assert lab.by_hand(View()) is None
    first = lab.by_hand(view)
    assert lab.by_hand(view) is first
    first.at(3)
    more = lab.by_hand(replace(view, pieces=(*view.pieces, Piece(3, (0.5,) * 8))))
    assert more is not first
    assert more.at(2) is first.at(2)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (View(scenario="nowhere"), "scenario 'nowhere' is not in the folders"),
        (View(a="nobody"), "policy 'nobody' is none of those that can be chosen"),
        (View(a="/etc"), "policy '/etc' is none of those"),
        (View(scenario="jetson", a="pretrained:sac"), "none of those that can be chosen"),
        (View(speed={99: 2.0}), "speed names device 99"),
        (View(scenario="jetson-wifi", distance={0: 2.0}), "replays recorded links"),
        (View(band=1e-3), "bandwidth_hz"),
        (View(pieces=(Piece(0, (0.1,)),)), "1 prices, expected 8"),
    ],
)
def test_what_cannot_be_is_told(lab, view, message):
    with pytest.raises(ViewError, match=message):
        lab.by_hand(view) if view.pieces else lab.episode(view, view.a)


@pytest.mark.slow
def test_a_shipped_policy_runs_in_a_changed_cell(lab):
    view = View(b="pretrained:ppo", speed={0: 3.0})
    assert lab.episode(view, view.b).at(0).reward > 0


def test_folders_are_not_looked_through_at_each_step(lab, monkeypatch):
    episode = lab.episode(View(), "wdmoe")
    monkeypatch.setattr(Library, "items", lambda self, kind: 1 // 0)
    assert lab.episode(View(step=3), "wdmoe") is episode


def test_a_policy_without_what_it_needs_says_what_to_install(lab, monkeypatch):
    def missing(sources, transfer):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("explorer.cells.lab.find_contenders", missing)
    with pytest.raises(ViewError, match=r"needs torch: pip install 'wdmoe-env\[train\]'"):
        lab.episode(View(b="pretrained:ppo"), "pretrained:ppo")
