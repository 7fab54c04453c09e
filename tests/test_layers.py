"""The layering: `make lint` refuses an import that breaks it, and CONTRIBUTING's table tells it as it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = "train.py", "evaluate.py"
PACKAGES = "wdmoe_env", "baselines", "agents", "evaluation", "explorer", "benchmarks"
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
LAYERS: dict[str, list[str]] = {
    contract.get("containers", [""])[0]: contract["layers"]
    for contract in SETTINGS["contracts"]
    if contract["type"] == "layers"
}
"""Layers within each package, from the highest to the lowest; "" is the project."""


def floors(container: str = "") -> Iterator[list[str]]:
    """Modules of each floor, from the lowest to the highest; a package that has floors of its own gives those."""
    for layer in reversed(LAYERS[container]):
        modules = [f"{container}.{name}".lstrip(".") for name in re.split(r"\s*[|:]\s*", layer)]
        if modules[0] in LAYERS:
            yield from floors(modules[0])
        else:
            yield modules


def path_of(module: str) -> str:
    """File or folder of a module, as the table writes it."""
    path = module.replace(".", "/")
    return f"{path}/" if (ROOT / path).is_dir() else f"{path}.py"


def table() -> list[list[str]]:
    """Files and folders that each row of CONTRIBUTING's table begins with."""
    lines = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| folder | what it is |") + 2
    rows = lines[start : lines.index("", start)]
    return [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in rows]


def test_the_table_has_the_floors_in_their_order() -> None:
    expected = [[path_of(module) for module in modules] for modules in floors()]
    expected.insert(-1, list(SCRIPTS))  # no packages, which the linter could not place
    assert table() == [*expected, ["tests/"], ["docs/"]]


def test_every_file_and_folder_of_the_table_exists_and_no_package_is_missing() -> None:
    named = {path for row in table() for path in row}
    assert [path for path in named if not (ROOT / path).exists()] == []
    tops = {path.split("/")[0] for path in named}
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} <= tops


def test_make_lint_runs_the_linter() -> None:
    commands = subprocess.run(["make", "-n", "lint"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(r"^\S*lint-imports", commands, re.MULTILINE)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources."""
    copy = tmp_path_factory.mktemp("house")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=lambda _, names: [n for n in names if data(n)])
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def data(name: str) -> bool:
    return "." in name and not name.endswith(".py")


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(house)}
    return subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_order_is_kept(house: Path) -> None:
    assert lint(house).returncode == 0, lint(house).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("baselines/price.py", "import agents", "Packages"),
        ("evaluation/comparison.py", "from benchmarks import joint", "Packages"),
        ("wdmoe_env/system/channel.py", "from wdmoe_env.simulator import Simulator", "Floors of wdmoe_env"),
        ("wdmoe_env/policy.py", "from wdmoe_env import allocation", "Floors of wdmoe_env"),
        ("wdmoe_env/loose.py", "import math", "Floors of wdmoe_env"),
        ("wdmoe_env/hardware/boards/expert.py", "from wdmoe_env.hardware.latency import fit", "Floors of wdmoe_env.h"),
        ("agents/files/tree.py", "from agents.training import trainer", "Floors of agents"),
        ("evaluation/episodes/plan.py", "from evaluation import comparison", "Floors of evaluation"),
        ("baselines/policy.py", "from baselines import random", "No circles"),
        ("wdmoe_env/system/floor.py", "import torch", "import wdmoe_env loads no torch"),
        ("agents/plan/plan.py", "import train", "Nobody imports the command lines"),
        ("wdmoe_env/moe/rules.py", "import stable_baselines3", "Stable-Baselines3"),
    ],
)
def test_an_import_that_breaks_the_order_is_refused(house: Path, file: str, line: str, contract: str) -> None:
    path = house / file
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.write_text(f"{before or ''}\n\ndef late() -> None:\n    {line}\n", encoding="utf-8")
    try:
        result = lint(house)
    finally:
        path.unlink() if before is None else path.write_text(before, encoding="utf-8")
    assert result.returncode == 1
    assert re.search(rf"^{contract}.* BROKEN", result.stdout, re.MULTILINE), result.stdout
