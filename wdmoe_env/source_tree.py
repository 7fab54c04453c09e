"""In the repository: `wdmoe_env.agents`, `.baselines`, `.evaluation`, as the wheel calls them, are those beside it.

There is one module of each, whatever it is called: with two, what is registered in one would be missing in the other.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import cast

HOME = Path(__file__).resolve().parent
PREFIX = f"{__package__}."
NAMES = "agents", "baselines", "evaluation", "explorer", "train", "evaluate"


class SourceTree(MetaPathFinder, Loader):
    """Finds a module of the repository by the name that it has in the wheel."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec; None if it is none of them."""
        own = fullname.removeprefix(PREFIX)
        if own == fullname or own.partition(".")[0] not in NAMES:
            return None
        found = find_spec(_own_name(fullname))
        if found is None:
            return None
        spec = ModuleSpec(fullname, self, origin=found.origin)
        spec.submodule_search_locations = found.submodule_search_locations
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The one module, imported by its own name."""
        module = import_module(_own_name(spec.name))
        if HOME.parent not in Path(module.__file__ or "").resolve().parents:
            what = f"{module.__name__} is {module.__file__}, which has the same name"
            raise ImportError(f"{what}; expected that of {HOME.parent}")
        spec.loader_state = module.__spec__
        return module

    def get_code(self, fullname: str) -> CodeType | None:
        """The module's code, for `python -m`."""
        spec = find_spec(_own_name(fullname))
        return None if spec is None else cast(InspectLoader, spec.loader).get_code(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """It has run already; importing it by another name leaves its spec as it was."""
        if module.__spec__ is not None and module.__spec__.loader is self:
            module.__spec__ = module.__spec__.loader_state


def _own_name(fullname: str) -> str:
    """What a module is called in the repository, which is found from now on wherever Python was started."""
    if (root := str(HOME.parent)) not in sys.path:
        sys.path.append(root)
    return fullname.removeprefix(PREFIX)


def install() -> None:
    """Look for the wheel's names in the repository, if this is one."""
    wheel = (HOME / NAMES[0]).is_dir()
    if not wheel and not any(isinstance(finder, SourceTree) for finder in sys.meta_path):
        sys.meta_path.insert(0, SourceTree())
