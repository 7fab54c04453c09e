"""Tokens by expert: what each token keeps, drops or takes in its place, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from explorer.figures.shown import Shown
from explorer.figures.style import rounded
from wdmoe_env.arrays import FloatArray, IntArray
from wdmoe_env.render import Scene

NOT_CHOSEN, LEFT_OUT, TAKEN_IN, KEPT = 0.0, 1.0, 2.0, 3.0
"""Values of the map; kept ones are darker with weight, up to KEPT + 1."""
EXPLAINED = 4_096
"""Up to so many tokens times experts each has its whole story; beyond it token, expert, weight and what happened."""


def token_map(shown: Shown, texts: Mapping[str, str]) -> dict[str, Any]:
    """What becomes of each token at each expert. Drawn by `static/pictures.js`.

    Returns `marks`, a row of values an expert, experts in the order of their devices; the `labels` of the rows;
    `stories`, a text for each place, or None in large cells, and then `weights` and the `words` of the values.
    """
    scene = shown.moment.scene
    order = np.argsort(scene.scenario.hosts, kind="stable")
    marks = _marks(scene, shown.step.selection)[:, order].T
    small = marks.size <= EXPLAINED
    alone = scene.scenario.compute_model.one_to_one
    return {
        "marks": rounded(marks, 3),
        "labels": [str(expert) if alone else f"{expert}·{scene.scenario.hosts[expert]}" for expert in order],
        "experts": order.tolist(),
        "stories": _stories(shown, order, texts) if small else None,
        "weights": None if small else rounded(scene.gate_weights[:, order].T.astype(float), 3),
        "words": [texts[key] for key in ("not_chosen", "dropped", "added", "kept")],
        "axes": [texts["axis_token"], texts["axis_expert"]],
    }


def _marks(scene: Scene, selection: Any) -> FloatArray:
    """(J, E) values of the map."""
    marks = np.where(scene.routed & ~selection, LEFT_OUT, NOT_CHOSEN)
    marks = np.where(selection & ~scene.routed, TAKEN_IN, marks)
    kept = KEPT + scene.gate_weights / max(float(scene.gate_weights.max()), 1e-12)
    return np.where(selection & scene.routed, kept, marks)


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
            self._where.append(texts["hover_host"].format(device=device, name=name))
            after = [] if np.isnan(costs[device]) else [texts["hover_cost"].format(device=device, ms=costs[device])]
            if shown.price is not None:
                after.append(texts["hover_price"].format(device=device, price=shown.price[device]))
            self._after.append("".join(f"\n{line}" for line in after))

    def story(self, token: int, expert: int, weight: float, rank: int, kind: str, part: float) -> str:
        """Token and expert, weight and rank, where the expert is, and why it is kept or not."""
        device, texts = self._hosts[expert], self._texts
        key = "why_dropped_waiting" if kind == "dropped" and device == self._waiting else f"why_{kind}"
        why = texts[key].format(part=part, device=device, k=self._k)
        named = texts["hover_token"].format(token=token, expert=expert)
        weighed = texts["hover_weight"].format(weight=weight, rank=rank, experts=self._experts)
        return f"{named}\n{weighed}\n{self._where[device]}\n{why}{self._after[device]}"


def _token_ms(shown: Shown) -> FloatArray:
    """(U,) milliseconds that one token takes on each device as it is served now; NaN where it serves none."""
    tokens = shown.tokens
    return np.where(tokens > 0, 1e3 * shown.times / np.maximum(tokens, 1), np.nan)


def legend(shown: Shown, texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """(what, words) of what the map shows, with how many there are."""
    marks = np.minimum(_marks(shown.moment.scene, shown.step.selection), KEPT)
    kinds = {"kept": KEPT, "dropped": LEFT_OUT, "added": TAKEN_IN}
    return [(kind, f"{texts[kind]}: {int((marks == value).sum())}") for kind, value in kinds.items()]
