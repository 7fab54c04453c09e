"""What a wheel would install, without building one."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """`setup.py`, which builds nothing when it is imported."""
    spec = importlib.util.spec_from_file_location("build_of_the_wheel", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def installed(build: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what a wheel would install."""
    folder = tmp_path_factory.mktemp("site")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "wdmoe_env", folder / "wdmoe_env", ignore=ignored)
    build.add_packages(ROOT, folder / "wdmoe_env")
    return folder
