"""View: what a link holds, read from a query string and written to one; all of it is checked before it is used."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlencode

from wdmoe_env.texts import LANGUAGES, Language

MAX_QUERY: Final = 16_384
"""Characters of a query string; a cell of 64 devices that is taken over ten times has a few thousand."""
MAX_INDEX: Final = 9_999
MAX_PIECES: Final = 64
MOST_BAND, MOST_SPEED = 1e11, 100.0
PANES: Final = "cell", "results", "training", "testbed"
_WORD = re.compile(r"[^\x00-\x1f]{1,200}")


class ViewError(ValueError):
    """A link says something that cannot be; the message names the parameter, its value, and what was expected."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What somebody set by hand, from one step on.

    Attributes:
        step: the first step that it holds in.
        price: (U,) price of each device, from 0 (nothing) to 1 (the scenario's highest): `((a + 1) / 2)` of an action.
        share: (U,) share of the band of each device, or None: the exact split.
    """

    step: int
    price: tuple[float, ...]
    share: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class View:
    """All that decides what the page shows.

    Attributes:
        pane: what is open, one of `PANES`.
        lang: language of the page.
        scenario: a preset, or a scenario file of the folders, by its name there.
        a, b: sources of the two policies, as `evaluate.py --policies` takes them.
        seed: of the episode.
        step: that is shown, from 0.
        band: Hz in the place of the scenario's; None: its own.
        distance: m in the place of the drawn one, by device.
        speed: how many times as fast as it is, by device.
        pieces: what was taken over, in the order of the steps.
        item: what of the folders is open in another pane.
        row: the record that is shown there.
    """

    pane: str = "cell"
    lang: Language = "en"
    scenario: str = "paper"
    a: str = "wdmoe"
    b: str = "price"
    seed: int = 0
    step: int = 0
    band: float | None = None
    distance: Mapping[int, float] = field(default_factory=dict)
    speed: Mapping[int, float] = field(default_factory=dict)
    pieces: tuple[Piece, ...] = ()
    item: str = ""
    row: int = 0


def parse(query: str) -> View:
    """The view of a query string, with or without its question mark; what it leaves out is as by default.

    Raises:
        ViewError: a parameter is unknown, stands twice, or has a value that it cannot have.
    """
    if len(query) > MAX_QUERY:
        raise ViewError(f"the link has {len(query):,} characters, expected at most {MAX_QUERY:,}")
    given = parse_qs(query.removeprefix("?"), keep_blank_values=True, max_num_fields=64)
    if unknown := given.keys() - _READ.keys():
        raise ViewError(f"{min(unknown)!r:.60} is no part of a link, expected {', '.join(_READ)}")
    if twice := [name for name, values in given.items() if len(values) > 1]:
        raise ViewError(f"{twice[0]} stands more than once")
    return View(**{name: _read(name, values[0]) for name, values in given.items()})


def query(view: View) -> str:
    """The query string of a view, with its question mark; what is as by default is left out."""
    said = {
        part.name: _WRITTEN.get(part.name, str)(value)
        for part in fields(view)
        if (value := getattr(view, part.name)) != _default(part)
    }
    return "?" + urlencode(said, safe=":,|@/", quote_via=quote) if said else "?"


def _default(part: Any) -> Any:
    return {} if part.name in ("distance", "speed") else part.default


def _read(name: str, text: str) -> Any:
    try:
        return _READ[name](text)
    except ValueError as error:
        raise ViewError(f"{name} is {text!r:.80}, expected {error}") from None


def _one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text

    return read


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError("1 to 200 printable characters")
    return text


def _index(text: str, most: int = MAX_INDEX) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > most:
        raise ValueError(f"a whole number from 0 to {most:,}")
    return int(text)


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        said = f"a number above {low:g}, at most {high:g}" if low == 0.0 else f"a number from {low:g} to {high:g}"
        try:
            value = float(text)
        except ValueError:
            raise ValueError(said) from None
        if not (math.isfinite(value) and low <= value <= high and value > 0.0):
            raise ValueError(said)
        return value

    return read


def _by_device(of_one: Callable[[str], float]) -> Callable[[str], dict[int, float]]:
    def read(text: str) -> dict[int, float]:
        pairs = [pair.partition(":") for pair in text.split(",")]
        return {_index(device): of_one(value) for device, _, value in pairs}

    return read


def _fractions(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in text.split(","))
    except ValueError:
        raise ValueError("numbers from 0 to 1, separated by commas") from None
    if not all(0.0 <= value <= 1.0 for value in values):
        raise ValueError("numbers from 0 to 1, separated by commas")
    return values


def _pieces(text: str) -> tuple[Piece, ...]:
    found = tuple(_piece(part) for part in text.split("|"))
    steps = [piece.step for piece in found]
    if steps != sorted(set(steps)) or len(found) > MAX_PIECES:
        raise ValueError(f"at most {MAX_PIECES} pieces, each at a later step than the one before")
    return found


def _piece(text: str) -> Piece:
    step, _, rest = text.partition("@")
    price, _, share = rest.partition(":")
    piece = Piece(_index(step), _fractions(price), _fractions(share) if share else None)
    if piece.share is not None and (len(piece.share) != len(piece.price) or not sum(piece.share)):
        raise ValueError("STEP@PRICES, or STEP@PRICES:SHARES with as many shares, not all of them 0")
    return piece


def _shown(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:.4g}" for value in values)


def _shown_piece(piece: Piece) -> str:
    share = "" if piece.share is None else f":{_shown(piece.share)}"
    return f"{piece.step}@{_shown(piece.price)}{share}"


def _shown_devices(values: Mapping[int, float]) -> str:
    return ",".join(f"{device}:{value:g}" for device, value in sorted(values.items()))


_READ: Final[dict[str, Callable[[str], Any]]] = {
    "pane": _one_of(PANES),
    "lang": _one_of(LANGUAGES),
    "scenario": _word,
    "a": _word,
    "b": _word,
    "seed": lambda text: _index(text, 2**63 - 1),
    "step": _index,
    "band": _number(0.0, MOST_BAND),
    "distance": _by_device(_number(1.0, 1e5)),
    "speed": _by_device(_number(0.0, MOST_SPEED)),
    "pieces": _pieces,
    "item": _word,
    "row": _index,
}
_WRITTEN: Final[dict[str, Callable[[Any], str]]] = {
    "band": lambda value: f"{value:g}",
    "distance": _shown_devices,
    "speed": _shown_devices,
    "pieces": lambda pieces: "|".join(map(_shown_piece, pieces)),
}
