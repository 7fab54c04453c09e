"""Lab: the cells and episodes that are looked at now, kept as long as there is room for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, Generic, TypeVar

from evaluation.episodes.contenders import find_contenders
from evaluation.episodes.errors import EvaluationError
from explorer.cells.changes import begin, changed
from explorer.cells.episodes import Episode, PolicyEpisode, TakenOver
from explorer.cells.proofs import Proofs
from explorer.library import Library
from explorer.view import View, ViewError
from wdmoe_env import Scenario, load_scenario
from wdmoe_env.files.safe import StorageError

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
CELLS: Final = 8
"""Changed cells that are kept; each keeps a few episodes."""
EPISODES: Final = 6


class Recent(Generic[Key, Value]):
    """The values that were asked for last, made where there is none yet; one thread makes, the others wait."""

    def __init__(self, most: int) -> None:
        self._most, self._lock, self._kept = most, Lock(), OrderedDict[Key, Value]()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of a key. What making it raises is raised, and not kept."""
        with self._lock:
            value = self._kept[key] if key in self._kept else make()
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return value

    def peek(self, key: Key) -> Value | None:
        """The value of a key, if there is one."""
        return self._kept.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Keep a value."""
        with self._lock:
            self._kept[key] = value


@dataclass(frozen=True)
class Cell:
    """A cell as a view asks for it, with the episodes that were run in it and what was proved."""

    scenario: Scenario
    seed: int
    distance: dict[int, float]
    proofs: Proofs
    episodes: Recent[str, PolicyEpisode] = field(default_factory=lambda: Recent(EPISODES))
    by_hand: Recent[str, TakenOver] = field(default_factory=lambda: Recent(EPISODES))


class Lab:
    """Finds what a view speaks of.

    Args:
        library: what may be opened besides what comes with the project.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self._cells: Recent[Hashable, Cell] = Recent(CELLS)

    def cell(self, view: View) -> Cell:
        """The cell of a view.

        Raises:
            ViewError: the scenario is unknown or broken, or a change does not fit it.
        """
        distance, speed = (tuple(sorted(values.items())) for values in (view.distance, view.speed))
        key = view.scenario, view.seed, view.band, distance, speed
        try:
            return self._cells.get(key, lambda: self._make(view))
        except ValueError as error:
            raise ViewError(str(error)) from error

    def episode(self, view: View, source: str) -> PolicyEpisode:
        """The episode of a policy in the cell of a view.

        Raises:
            ViewError: as `cell`; or there is no such policy, or it does not fit the cell.
        """
        cell = self.cell(view)

        def make() -> PolicyEpisode:
            if source not in self.library.policies(view.scenario):
                raise ViewError(f"policy {source!r} is none of those that can be chosen")
            (contender,) = find_contenders([self.library.source(source)], transfer=True)
            simulator = begin(cell.scenario, cell.seed, cell.distance)
            return PolicyEpisode(simulator, contender.policies[0])

        try:
            return cell.episodes.get(source, make)
        except ViewError:
            raise
        except (EvaluationError, StorageError, ValueError) as error:
            raise ViewError(f"policy {source!r} cannot run here: {error}") from error
        except ModuleNotFoundError as error:
            raise ViewError(f"policy {source!r} needs {error.name}: pip install 'wdmoe-env[train]'") from error

    def by_hand(self, view: View) -> Episode | None:
        """The episode of whoever takes over from the first policy; None where nobody does.

        Raises:
            ViewError: as `episode`; or what was set does not fit the cell.
        """
        if not view.pieces:
            return None
        base, kept = self.episode(view, view.a), self.cell(view).by_hand
        before = kept.peek(view.a)
        if before is not None and before.base is base and before.pieces == view.pieces:
            return before
        try:
            taken = TakenOver(base, view.pieces, before)
        except (ValueError, IndexError) as error:
            raise ViewError(str(error)) from error
        kept.put(view.a, taken)
        return taken

    def _make(self, view: View) -> Cell:
        scenario = changed(load_scenario(self.library.scenario(view.scenario)), view.band, view.speed)
        begin(scenario, view.seed, view.distance)
        return Cell(scenario, view.seed, dict(view.distance), Proofs(scenario))
