"""The recipes: short, listed, naming what exists; that of Stable-Baselines3 runs. The others run at night."""

import ast
import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

import gymnasium as gym
import pytest
import yaml

import wdmoe_env
from agents.sb3.vec_env import WDMoEVecEnv
from wdmoe_env.envs.env import WDMoEEnv
from wdmoe_env.envs.ids import PRESETS, id_of
from wdmoe_env.envs.vector_env import WDMoEVectorEnv

ROOT = Path(wdmoe_env.__file__).resolve().parents[1]
HOME = ROOT / "recipes"
RECIPES = sorted(HOME.glob("with_*.py"))
WORKFLOW = ROOT / ".github" / "workflows" / "recipes.yml"
MOST_LINES = 15
NAMED = re.compile(r"WDMoE-[\w-]*v\d+")
MAKERS = {"make": WDMoEEnv, "make_vec": WDMoEVectorEnv, "WDMoEVecEnv": WDMoEVecEnv}
OF_GYMNASIUM = {"num_envs", "vectorization_mode"}
WITHOUT_CONSEQUENCES = {id_of(name) for name in ("paper", "cell-64", "tiny-moe")}


def jobs() -> list[dict[str, object]]:
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    return workflow["jobs"]["recipe"]["strategy"]["matrix"]["include"]


def ids(text: str) -> set[str]:
    return set(NAMED.findall(text))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_short_and_names_what_exists(recipe):
    text = recipe.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    code = text.splitlines()[tree.body[0].end_lineno :]
    assert len([line for line in code if line.strip()]) <= MOST_LINES
    assert ids(text) <= set(gym.registry)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if (maker := MAKERS.get(getattr(call.func, "attr", ""))) is not None:
            given = {keyword.arg for keyword in call.keywords}
            assert given <= {*signature(maker).parameters, *OF_GYMNASIUM}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_does_not_hide_the_library_it_is_for(recipe):
    """Run as a script, its own folder is the first place where Python looks."""
    names = {path.stem for path in HOME.glob("*.py")}
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(recipe.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names & imported == {"held_out"}


def test_every_recipe_is_in_the_table_and_has_a_job_with_its_pins():
    page = (HOME / "README.md").read_text(encoding="utf-8")
    by_recipe = {job["recipe"]: job for job in jobs()}
    assert set(by_recipe) == {path.name for path in RECIPES}
    for name, job in by_recipe.items():
        assert f"[{name}]({name})" in page
        assert f"constraints/{job['client']}.txt" in page
        pins = (HOME / "constraints" / f"{job['client']}.txt").read_text(encoding="utf-8").split()
        assert pins
        assert all(re.fullmatch(r"[\w.\[\]-]+==[\w.]+", pin) for pin in pins)
        assert [pin for pin in pins if f"`{pin}`" not in page and not pin.startswith(("torch==", "rich=="))] == []
    assert {path.stem for path in (HOME / "constraints").iterdir()} == {job["client"] for job in jobs()}


def test_thresholds_are_above_an_action_of_zero():
    assert min(float(str(job["threshold"])) for job in jobs()) > 1.69  # 0 for every device reaches 1.678


def test_the_zoo_knows_every_id_whose_decisions_change_nothing_later():
    known = yaml.safe_load((HOME / "zoo.yml").read_text(encoding="utf-8"))
    assert set(known) == WITHOUT_CONSEQUENCES
    assert {settings["gamma"] for settings in known.values()} == {0.0}
    assert {id_of(name) for name in PRESETS} >= WITHOUT_CONSEQUENCES


@pytest.mark.slow
def test_the_recipe_for_stable_baselines_runs():
    command = [sys.executable, str(HOME / "with_sb3.py"), "2048"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    found = re.search(r"^reward (\d\.\d{3})$", printed, re.MULTILINE)
    assert found
    assert 1.4 < float(found[1]) < 1.9
