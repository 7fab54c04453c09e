"""Library: what the folders given at the start hold, by names that a link may say; nothing outside them is opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import baselines
from explorer.view import ViewError
from wdmoe_env.files.safe import StorageError, read_text
from wdmoe_env.scenario import preset_names

Kind = Literal["run", "results", "testbed", "scenario"]
DEEPEST: Final = 3
"""Folders below each other that are looked into."""
MOST: Final = 2_000
"""Things that are listed."""
SHIPPED: Final = "pretrained:ppo", "pretrained:sac"
MARKS: Final[dict[str, Kind]] = {
    "config.json": "run",
    "seeds.json": "run",
    "summary.json": "results",
    "layers.parquet": "testbed",
}
"""The file that tells what a folder is. Named here, as the packages that write them load torch and matplotlib."""
MAX_SCENARIO_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Item:
    """Something that can be opened: its kind, the name that a link says, where it lies."""

    kind: Kind
    name: str
    path: Path


class Library:
    """What some folders hold.

    Args:
        folders: whose runs, results, recordings and scenario files can be opened, with all that they hold.

    Raises:
        ValueError: one is no folder, or two are called the same.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = {folder.resolve().name: folder.resolve() for folder in folders}
        if wrong := [folder for folder in folders if not folder.is_dir()]:
            raise ValueError(f"folder {str(wrong[0])!r} does not exist")
        if len(self._folders) < len(folders):
            raise ValueError("two folders have the same name: links could not tell them apart")

    def items(self, kind: Kind) -> list[Item]:
        """All of one kind, by name."""
        found = [item for name, folder in self._folders.items() for item in _items(name, folder)]
        return sorted((item for item in found[:MOST] if item.kind == kind), key=lambda item: item.name)

    def path_of(self, kind: Kind, name: str) -> Path:
        """Where something lies.

        Raises:
            ViewError: there is nothing of that kind and name.
        """
        for item in self.items(kind):
            if item.name == name:
                return item.path
        raise ViewError(f"{kind} {name!r} is not in the folders given at the start")

    def scenarios(self) -> list[str]:
        """What can be chosen as scenario: presets, then files of the folders."""
        return [*preset_names(), *(item.name for item in self.items("scenario"))]

    def scenario(self, name: str) -> str:
        """The source of a scenario, as `load_scenario` takes it.

        Raises:
            ViewError: there is none of that name.
        """
        return name if name in preset_names() else str(self.path_of("scenario", name))

    def policies(self, scenario: str) -> list[str]:
        """What can be chosen as policy in a scenario of that name; runs are offered whatever they were trained in."""
        own = [source for source in SHIPPED if scenario in shipped_in(source)]
        return [*baselines.BASELINES, *own, *(item.name for item in self.items("run"))]

    def source(self, policy: str) -> str:
        """The source of a policy, as `evaluate.py --policies` takes it."""
        if policy in baselines.BASELINES or policy in SHIPPED:
            return policy
        return f"{Path(policy).name}={self.path_of('run', policy)}"


def shipped_in(source: str) -> list[str]:
    """Presets that a shipped policy was trained in; looked up without torch, which takes seconds to load."""
    folder = Path(baselines.__file__).parents[1] / "agents" / "pretrained_policies"
    algorithm = source.partition(":")[2]
    return sorted(path.name.removesuffix(f"-{algorithm}") for path in folder.glob(f"*-{algorithm}"))


def _items(name: str, folder: Path, depth: int = 0) -> Iterator[Item]:
    """What a folder is, or holds; links are not followed."""
    for file, kind in MARKS.items():
        if (folder / file).is_file():
            yield Item(kind, name, folder)
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return
    for path in inside:
        if path.is_symlink() or path.name.startswith("."):
            continue
        if path.suffix in (".yaml", ".yml") and _is_scenario(path):
            yield Item("scenario", f"{name}/{path.name}", path)
        elif path.is_dir() and depth < DEEPEST:
            yield from _items(f"{name}/{path.name}", path, depth + 1)


def _is_scenario(path: Path) -> bool:
    """Whether a YAML file looks like a scenario; whether it is one is told when it is opened."""
    try:
        text = "\n" + read_text(path, MAX_SCENARIO_BYTES)
    except StorageError:
        return False
    return all(f"\n{key}:" in text for key in ("model", "devices", "channel"))
