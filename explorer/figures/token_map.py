"""Tokens by expert: what each token keeps, drops or takes in its place, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from explorer.figures.shown import Shown
from explorer.figures.style import ADDED, DROPPED, UNUSED, Figure, axis, layout, plain, rounded
from wdmoe_env.arrays import FloatArray, IntArray
from wdmoe_env.render import Scene

NOT_CHOSEN, LEFT_OUT, TAKEN_IN, KEPT = 0.0, 1.0, 2.0, 3.0
"""Values of the map; kept ones are darker with weight, up to KEPT + 1."""
SCALE = (
    (0.0, UNUSED), (0.2, UNUSED), (0.2, DROPPED), (0.45, DROPPED), (0.45, ADDED), (0.7, ADDED),
    (0.7, "#b8dceb"), (1.0, "#084b83"),
)  # fmt: skip
EXPLAINED = 4_096
"""Up to so many tokens times experts each has its whole story; beyond it the words for what happened."""


def token_map(shown: Shown, texts: Mapping[str, str]) -> Figure:
    """Tokens from left to right, experts from top to bottom, device by device."""
    scene, selection = shown.moment.scene, shown.step.selection
    order = np.argsort(scene.scenario.hosts, kind="stable")
    hosts, experts = scene.scenario.hosts[order], len(order)
    marks = _marks(scene, selection)[:, order].T
    small = marks.size <= EXPLAINED
    ticks = list(range(experts)) if experts <= 16 else list(range(0, experts, experts // 8))
    label = [f"{order[row]}·{hosts[row]}" if not scene.scenario.compute_model.one_to_one else str(row) for row in ticks]
    return {
        "data": [
            {
                "type": "heatmap",
                "z": rounded(marks, 3),
                "zmin": 0,
                "zmax": 4,
                "colorscale": [list(stop) for stop in SCALE],
                "showscale": False,
                "xgap": 1 if small else 0,
                "ygap": 1 if experts <= 32 else 0,
                "text": _stories(shown, order, texts) if small else _words(marks, texts),
                "customdata": None if small else rounded(scene.gate_weights[:, order].T.astype(float), 3),
                "hovertemplate": "%{text}<extra></extra>" if small else _short(texts),
            }
        ],
        "layout": layout(
            max(150, min(420, 60 + 15 * experts)),
            xaxis=axis(texts["axis_token"], showgrid=False),
            yaxis=axis(
                texts["axis_expert"], tickvals=ticks, ticktext=label, range=[experts - 0.5, -0.5], showgrid=False
            ),
        ),
    }


def _marks(scene: Scene, selection: Any) -> FloatArray:
    """(J, E) values of the map."""
    marks = np.where(scene.routed & ~selection, LEFT_OUT, NOT_CHOSEN)
    marks = np.where(selection & ~scene.routed, TAKEN_IN, marks)
    kept = KEPT + scene.gate_weights / max(float(scene.gate_weights.max()), 1e-12)
    return np.where(selection & scene.routed, kept, marks)


def _short(texts: Mapping[str, str]) -> str:
    return texts["hover_token_short"] + "<br>%{text}<extra></extra>"


def _words(marks: FloatArray, texts: Mapping[str, str]) -> list[list[str]]:
    words = np.array([texts["not_chosen"], texts["dropped"], texts["added"], texts["kept"], texts["kept"]])
    return [list(row) for row in words[marks.astype(int)]]


def _stories(shown: Shown, order: IntArray, texts: Mapping[str, str]) -> list[list[str]]:
    """The story of each token and expert, expert by expert in an order."""
    scene, chosen = shown.moment.scene, shown.step.selection
    weights = scene.gate_weights.astype(float)
    rank = (np.argsort(np.argsort(-weights, axis=1, kind="stable"), axis=1) + 1).tolist()
    parts = (weights / np.where(scene.routed, weights, 0.0).sum(axis=1, keepdims=True)).tolist()
    kinds = np.where(chosen, np.where(scene.routed, "kept", "added"), np.where(scene.routed, "dropped", "not_chosen"))
    kinds[(chosen & scene.routed) & (chosen.sum(axis=1, keepdims=True) == 1)] = "only"
    told, words, numbers = _Teller(shown, texts), kinds.tolist(), weights.tolist()
    return [
        [told.story(token, expert, numbers[token][expert], rank[token][expert], words[token][expert],
                    parts[token][expert]) for token in range(len(numbers))]
        for expert in order.tolist()
    ]  # fmt: skip


class _Teller:
    """Tells the story of a token and an expert; what is the same for all tokens is put together once."""

    def __init__(self, shown: Shown, texts: Mapping[str, str]) -> None:
        scenario = shown.moment.scene.scenario
        self._texts, self._experts, self._waiting = texts, scenario.model.experts, shown.waiting
        self._hosts, self._k = scenario.hosts.tolist(), scenario.model.top_k
        costs = _token_ms(shown)
        self._where, self._after = [], []
        for device, name in enumerate(scenario.device_names):
            self._where.append(texts["hover_host"].format(device=device, name=plain(name)))
            after = [] if np.isnan(costs[device]) else [texts["hover_cost"].format(device=device, ms=costs[device])]
            if shown.price is not None:
                after.append(texts["hover_price"].format(device=device, price=shown.price[device]))
            self._after.append("".join(f"<br>{line}" for line in after))

    def story(self, token: int, expert: int, weight: float, rank: int, kind: str, part: float) -> str:
        """Token and expert, weight and rank, where the expert is, and why it is kept or not."""
        device, texts = self._hosts[expert], self._texts
        key = "why_dropped_waiting" if kind == "dropped" and device == self._waiting else f"why_{kind}"
        why = texts[key].format(part=part, device=device, k=self._k)
        named = texts["hover_token"].format(token=token, expert=expert)
        weighed = texts["hover_weight"].format(weight=weight, rank=rank, experts=self._experts)
        return f"{named}<br>{weighed}<br>{self._where[device]}<br><b>{why}</b>{self._after[device]}"


def _token_ms(shown: Shown) -> FloatArray:
    """(U,) milliseconds that one token takes on each device as it is served now; NaN where it serves none."""
    tokens = shown.tokens
    return np.where(tokens > 0, 1e3 * shown.times / np.maximum(tokens, 1), np.nan)


def legend(shown: Shown, texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """(colour, words) of what the map shows, with how many there are."""
    marks = _marks(shown.moment.scene, shown.step.selection)
    counts = [int((np.floor(np.minimum(marks, KEPT)) == value).sum()) for value in (KEPT, LEFT_OUT, TAKEN_IN)]
    colours = SCALE[-1][1], DROPPED, ADDED
    names = texts["kept"], texts["dropped"], texts["added"]
    return [(colour, f"{name}: {count}") for colour, name, count in zip(colours, names, counts, strict=True)]
