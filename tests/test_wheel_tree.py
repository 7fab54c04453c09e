"""What a wheel holds: the project's packages within `wdmoe_env`, renamed wherever they are imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from support.wheel import build, installed  # noqa: F401 - fixtures

ROOT = Path(__file__).resolve().parents[1]


def python(installed: Path, program: str, *arguments: str) -> str:
    """Run a program where nothing of the repository is found but what is installed."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", program] if not arguments else [sys.executable, *arguments]
    done = subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_module_is_left_with_a_bare_name(installed: Path) -> None:
    bare = re.compile(r"^\s*(?:>>> )?(?:from|import) (?:agents|baselines|evaluation|train|evaluate)\b", re.MULTILINE)
    sources = {path: path.read_text(encoding="utf-8") for path in installed.rglob("*.py")}
    assert len(sources) > 250
    assert [path for path, source in sources.items() if bare.search(source)] == []
    assert [path.name for path in installed.iterdir()] == ["wdmoe_env"]


def test_data_comes_with_the_packages(installed: Path) -> None:
    home = installed / "wdmoe_env"
    policies = {path.parent.name for path in home.glob("agents/pretrained_policies/*/policy.safetensors")}
    assert policies == {path.name for path in (ROOT / "agents/pretrained_policies").iterdir()}
    assert (home / "agents/hyperparameters/ppo.yaml").exists()
    assert (home / "evaluation/report/report_template.html").exists()


@pytest.mark.slow
def test_every_module_imports_by_its_new_name_alone(installed: Path) -> None:
    program = """
import sys, pkgutil, importlib, wdmoe_env
for package in ("agents", "baselines", "evaluation", "explorer"):
    top = importlib.import_module(f"wdmoe_env.{package}")
    for module in pkgutil.walk_packages(top.__path__, top.__name__ + "."):
        importlib.import_module(module.name)
import wdmoe_env.train, wdmoe_env.evaluate
bare = {"agents", "baselines", "evaluation", "explorer", "train", "evaluate"}
print(sorted(bare & set(sys.modules)), len(sys.modules) > 300)
print(wdmoe_env.agents.pretrained("ppo")._find(wdmoe_env.load_scenario("paper")).name)
"""
    assert python(installed, program) == "[] True\nppo\n"


@pytest.mark.slow
def test_training_seeds_and_comparing_run_from_what_is_installed(installed: Path, tmp_path: Path) -> None:
    few = ["--timesteps", "512", "--num-envs", "4", "--evaluate-episodes", "1", "--wandb", "disabled"]
    set_up = ["--set", "rollout", "32", "batch_size", "64", "n_epochs", "1", "--run-dir", str(tmp_path / "runs")]
    python(installed, "", "-m", "wdmoe_env.train", "--scenario", "tiny-moe", "--seeds", "0-1", *few, *set_up)
    assert (tmp_path / "runs/seed-1/best/policy.safetensors").exists()
    policies = f"top-k,{tmp_path / 'runs'}"
    small = ["--episodes", "2", "--bound-steps", "0", "--out", str(tmp_path / "out")]
    python(installed, "", "-m", "wdmoe_env.evaluate", "--scenario", "tiny-moe", "--policies", policies, *small)
    assert (tmp_path / "out/report.html").exists()


def test_the_command_runs_from_what_is_installed(installed: Path) -> None:
    assert "many-experts" in python(installed, "", "-m", "wdmoe_env", "presets")
    version = python(installed, "", "-m", "wdmoe_env", "version")
    assert version.startswith("wdmoe-env ")
    assert "\nrevision " not in version
    assert "usage: train.py" in python(installed, "", "-m", "wdmoe_env", "train", "--help")


def test_the_explorer_serves_its_page_from_what_is_installed(installed: Path) -> None:
    program = """
from wdmoe_env.explorer.library import Library
from wdmoe_env.explorer.view import View
from wdmoe_env.explorer.web.app import make_app
client = make_app(Library(), View(lang="zh"), frozenset({"localhost"})).test_client()
for path in ("/", "/static/cell.js", "/plotly.js", "/draw?a=top-k&b=wdmoe"):
    print(client.get(path, base_url="http://localhost").status_code)
"""
    assert python(installed, program).split() == ["200"] * 4


def test_in_the_repository_a_package_runs_by_the_wheels_name_as_by_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wdmoe_env.agents.tune", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout
    assert find_spec("wdmoe_env.agents.no_such_module") is None


@pytest.mark.parametrize("module", ["train", "evaluate"])
def test_in_the_repository_command_lines_have_the_wheels_names_too(module: str) -> None:
    command = [sys.executable, "-m", f"wdmoe_env.{module}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"usage: {module}.py" in done.stdout


@pytest.mark.parametrize("line", ["import agents.sb3", "import baselines, numpy", "import evaluation as e"])
def test_an_import_that_would_not_be_renamed_stops_the_build(build: ModuleType, line: str) -> None:
    with pytest.raises(ValueError, match=f"mine.py: '{line}' is not renamed"):
        build.renamed(f"x = 1\n{line}\n", "mine.py")


def test_what_is_renamed(build: ModuleType) -> None:
    source = "from agents.plan import x\n    import agents\n>>> from baselines import y\n# python train.py, train.py\n"
    expected = "from wdmoe_env.agents.plan import x\n    from wdmoe_env import agents\n"
    expected += ">>> from wdmoe_env.baselines import y\n# python -m wdmoe_env.train, train.py\n"
    assert build.renamed(source, "mine.py") == expected
    assert build.renamed('["python", "evaluate.py", *x]', "mine.py") == '["python", "-m", "wdmoe_env.evaluate", *x]'
    kept = "import agents_of_others\nfrom .agents import x\nagents.load()\n"
    assert build.renamed(kept, "mine.py") == kept


def test_in_the_repository_both_names_are_one_module() -> None:
    import wdmoe_env.agents.plan.plan  # type: ignore[import-not-found]
    import wdmoe_env.baselines  # type: ignore[import-not-found]

    import agents.plan.plan
    import baselines

    assert wdmoe_env.baselines is baselines
    assert wdmoe_env.agents.plan.plan is agents.plan.plan
    assert baselines.__spec__ is not None
    assert baselines.__spec__.name == "baselines"


def test_a_package_of_others_with_the_same_name_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text("")
    program = "import wdmoe_env\ntry:\n    import wdmoe_env.agents\nexcept ImportError as error:\n    print(error)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "agents.py, which has the same name; expected that of" in done.stdout
