"""What the page shows for a view: figures, the table of the layer, and how the sliders stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from explorer.cells.changes import placed
from explorer.cells.episodes import Episode, piece_of
from explorer.cells.lab import Cell, Lab
from explorer.cells.proofs import provable
from explorer.figures.bars import device_bars
from explorer.figures.cell_map import cell_map
from explorer.figures.course import Course, course
from explorer.figures.shown import Shown
from explorer.figures.style import COLOURS
from explorer.figures.token_map import legend, token_map
from explorer.view import Piece, View, ViewError
from wdmoe_env.arrays import FloatArray

PROVE_S: Final = 1.0
"""Seconds that one answer proves for; the page asks again until all is proved."""
Texts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those that are compared: its label, its colour, its episode."""

    label: str
    place: int
    episode: Episode


class Drawing:
    """A view, found in a lab.

    Raises:
        ViewError: something in the view cannot be.
    """

    def __init__(self, view: View, lab: Lab, texts: Texts) -> None:
        self.view, self.texts = view, texts
        self.cell: Cell = lab.cell(view)
        self.scenario = self.cell.scenario
        if view.step >= (steps := self.scenario.steps_per_episode):
            raise ViewError(f"step is {view.step}, expected 0 to {steps - 1}")
        sources = [view.a] if view.a == view.b else [view.a, view.b]
        self.contenders = [Contender(source, place, lab.episode(view, source)) for place, source in enumerate(sources)]
        if (taken := lab.by_hand(view)) is not None:
            self.contenders.append(Contender(texts["by_hand"], 2, taken))

    def shown(self) -> list[Shown]:
        """All contenders in the step that is looked at."""
        found = []
        for one in self.contenders:
            moment = one.episode.at(self.view.step)
            price = self._price() if one.place == 2 else None
            found.append(Shown(one.label, one.place, moment, self.cell.proofs.of(moment), price))
        return found

    def answer(self) -> dict[str, Any]:
        """All that depends on the step."""
        shown = self.shown()
        return {
            "figures": {"devices-figure": device_bars(shown, self.texts)},
            "maps": {str(one.place): cell_map(one, self.texts) for one in shown},
            "tokens": {str(one.place): token_map(one, self.texts) for one in shown},
            "table": table(shown, self._until(), provable(self.scenario), self.texts),
            "where": self._where(),
            "words": {str(one.place): self._words(one) for one in shown},
            "steps": self.scenario.steps_per_episode,
            "hand": self._hand(shown),
        }

    def course(self, seconds: float = PROVE_S) -> dict[str, Any]:
        """The whole episode, and what was proved of it after so many seconds more."""
        steps = range(self.scenario.steps_per_episode)
        moments = [[one.episode.at(step) for step in steps] for one in self.contenders]
        now = self.view.step
        wanted = [*(own[now] for own in moments), *moments[0][now:], *moments[0][:now]]
        done = self.cell.proofs.prove(wanted, seconds)
        courses = [
            Course(one.label, one.place, _metric(own, "latency"), _metric(own, "reward"))
            for one, own in zip(self.contenders, moments, strict=True)
        ]
        proved = [self.cell.proofs.of(moment) for moment in moments[0]]
        most = np.array([np.nan if found is None else found.reward for found in proved])
        figure = course(courses, _metric(moments[0], "latency_top_k"), most, self.texts)
        return {
            "figures": {"course": figure},
            "table": table(self.shown(), self._until(), provable(self.scenario), self.texts),
            "done": done,
        }

    def record(self) -> dict[str, Any]:
        """The step as numbers, for whoever goes on with them elsewhere."""
        return {
            "scenario": self.scenario.name,
            "seed": self.cell.seed,
            "step": self.view.step,
            "devices": list(self.scenario.device_names),
            "policies": [_numbers(one) for one in self.shown()],
        }

    def _words(self, one: Shown) -> dict[str, Any]:
        """What figures say to those who do not see them, and their legends."""
        said = legend(one, self.texts)
        ms = 1e3 * one.step.metrics["latency"]
        words = ", ".join(text for _, text in said)
        return {
            "label": one.label,
            "colour": COLOURS[one.place],
            "map": self.texts["map_alt"].format(label=one.label, device=one.waiting, ms=ms),
            "tokens": self.texts["tokens_alt"].format(label=one.label, words=words),
            "legend": said,
        }

    def _where(self) -> str:
        layers = self.scenario.model.layers
        passes = self.scenario.traffic.passes_per_episode
        before, layer = divmod(self.view.step, layers)
        return self.texts["step_said"].format(forward_pass=before + 1, passes=passes, layer=layer + 1, layers=layers)

    def _until(self) -> list[tuple[float, float]]:
        """(seconds, mean reward) of each contender from the start to the step that is looked at."""
        found = []
        for one in self.contenders:
            moments = [one.episode.at(step) for step in range(self.view.step + 1)]
            found.append((float(_metric(moments, "latency").sum()), float(_metric(moments, "reward").mean())))
        return found

    def _piece(self) -> Piece:
        """What holds by hand in this step; before anybody takes over, what comes nearest to policy A."""
        held = [piece for piece in self.view.pieces if piece.step <= self.view.step]
        return (
            held[-1] if held else piece_of(self.contenders[0].episode.at(self.view.step), self.view.step, self.scenario)
        )

    def _price(self) -> FloatArray:
        return np.asarray(self.scenario.price_max * np.square(np.array(self._piece().price)))

    def _hand(self, shown: Sequence[Shown]) -> dict[str, Any]:
        """How sliders and fields stand."""
        piece, own = self._piece(), shown[-1] if self.view.pieces else shown[0]
        scene = shown[0].moment.scene
        return {
            "names": list(self.scenario.device_names),
            "price": list(piece.price),
            "price_max": self.scenario.price_max,
            "share": [round(float(share), 4) for share in own.step.bandwidth / self.scenario.radio.bandwidth_hz],
            "exact": piece.share is None,
            "taken": bool(self.view.pieces),
            "band": self.scenario.radio.bandwidth_hz / 1e6,
            "distance": [round(float(metres), 1) for metres in np.abs(scene.position)],
            "placed": placed(self.scenario),
            "speed": [self.view.speed.get(device, 1.0) for device in range(self.scenario.num_devices)],
        }


def table(
    shown: Sequence[Shown], until: Sequence[tuple[float, float]], bounded: bool, texts: Texts
) -> list[tuple[str, list[str]]]:
    """Rows of (name, a text for each contender), the first one with their labels."""
    rows = [(texts["metric"], [one.label for one in shown])]
    unknown = texts["proving"] if bounded else texts["no_bound"]
    for key, value in _VALUES.items():
        rows.append((texts[key], [value(one) for one in shown]))
    rows.append((texts["of_proven"], [_of_proven(one, unknown) for one in shown]))
    rows.append((texts["excess"], [_excess(one, unknown) for one in shown]))
    rows.append((texts["running"], [f"{1e3 * seconds:.4g}" for seconds, _ in until]))
    rows.append((texts["running_reward"], [f"{reward:.3f}" for _, reward in until]))
    return rows


_VALUES: Final[dict[str, Callable[[Shown], str]]] = {
    "layer_latency": lambda one: f"{1e3 * one.step.metrics['latency']:.4g}",
    "against_plain": lambda one: f"{one.step.metrics['latency'] / one.step.metrics['latency_top_k'] - 1.0:+.1%}",
    "wlr": lambda one: f"{one.step.metrics['wlr']:.4g}",
    "mass": lambda one: f"{one.step.metrics['retained_mass']:.3f}",
    "experts_per_token": lambda one: f"{one.step.metrics['experts_per_token']:.2f}",
    "reward": lambda one: f"{one.step.metrics['reward']:.3f}",
    "slowest": lambda one: f"{one.waiting} {one.moment.scene.scenario.device_names[one.waiting]}",
}


def _of_proven(one: Shown, unknown: str) -> str:
    return unknown if one.proved is None else f"{one.moment.reward / one.proved.reward:.1%}"


def _excess(one: Shown, unknown: str) -> str:
    if one.proved is None:
        return unknown
    metrics = one.step.metrics
    return f"{metrics['latency'] / one.proved.least_latency(metrics['retained_mass']) - 1.0:+.1%}"


def _metric(moments: Sequence[Any], name: str) -> FloatArray:
    return np.array([moment.scene.step.metrics[name] for moment in moments])


def _numbers(one: Shown) -> dict[str, Any]:
    step = one.step
    return {
        "policy": one.label,
        "metrics": {name: value if np.isfinite(value) else None for name, value in step.metrics.items()},
        "bandwidth_hz": step.bandwidth.tolist(),
        "communication_s": step.communication.tolist(),
        "computation_s": step.computation.tolist(),
        "tokens": one.tokens.tolist(),
        "selection": [np.flatnonzero(row).tolist() for row in step.selection],
        "proven_most_reward": None if one.proved is None else one.proved.reward,
        "price": None if one.price is None else one.price.tolist(),
    }
