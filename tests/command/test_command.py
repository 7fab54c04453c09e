"""The command `wdmoe`: its own tables, and the project's command lines by its name."""

from __future__ import annotations

import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import tomllib

from wdmoe_env import __version__, load_scenario, preset_names
from wdmoe_env.command import main
from wdmoe_env.command.line import MODULES, PROJECT, TABLES
from wdmoe_env.command.presets import HARD

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that run in this process set `sys.argv`, and are imported by nobody before."""
    monkeypatch.setattr(sys, "argv", ["wdmoe"])
    for module in MODULES.values():
        for name in (f"{PROJECT}.{module.name}", f"{PROJECT}.{module.name}.__main__"):
            if name.endswith(".__main__") or not hasattr(sys.modules.get(name), "__path__"):
                monkeypatch.delitem(sys.modules, name, raising=False)


def test_presets_tells_of_each_its_size_and_what_makes_it_hard(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["preset", "devices", "experts", "tokens", "steps", "what", "makes", "it", "hard"]
    assert {row.split()[0] for row in rows} == set(preset_names()) == set(HARD)
    many = load_scenario("many-experts")
    expected = "many-experts", many.num_devices, many.model.experts, many.traffic.tokens, many.steps_per_episode
    assert next(row.split()[:5] for row in rows if row.startswith("many")) == list(map(str, expected))
    assert max(map(len, rows)) <= 120


@pytest.mark.parametrize("word", ["version", "--version"])
def test_version_names_what_a_report_needs(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = dict(line.split(maxsplit=1) for line in lines)
    assert len(told) == len(lines)
    assert told["wdmoe-env"] == __version__
    assert told["python"] == sys.version.split()[0]
    assert {"platform", "numpy", "gymnasium"} <= told.keys()


def test_where_there_is_no_checkout_no_revision_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for revision, lines in (("abc", 1), (None, 0)):
        monkeypatch.setattr("wdmoe_env.command.versions.git_revision", lambda revision=revision: revision)
        main(["version"])
        assert capsys.readouterr().out.count("revision") == lines


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["presets", "--help"]])
def test_help_lists_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: wdmoe COMMAND [OPTIONS]\n")
    assert [name for name in (*TABLES, *MODULES) if f"\n  {name} " not in out] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dance"], "error: unknown command 'dance', expected one of presets, version, train, evaluate, explore"),
        (["presets", "paper"], "error: wdmoe presets takes no arguments, but was given paper"),
    ],
)
def test_what_is_unknown_is_told(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("name", MODULES)
def test_every_command_has_its_module(name: str) -> None:
    assert find_spec(f"{PROJECT}.{MODULES[name].name}") is not None


def test_a_command_runs_as_the_main_module_with_the_arguments_that_follow(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hardware", "boards"]) == 0
    assert "orin-nano-8gb" in capsys.readouterr().out
    assert sys.argv[1:] == ["boards"]


def test_its_exit_status_is_that_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["testbed", "dance"])
    assert ended.value.code == 2
    assert "unknown command 'dance', expected one of device" in capsys.readouterr().err


def test_export_is_that_of_train(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "--help"])
    assert ended.value.code == 0
    assert "usage: train.py export" in capsys.readouterr().out


def test_what_is_not_installed_is_told_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert main(["evaluate"]) == 2
    assert capsys.readouterr().err == "error: wdmoe evaluate needs tyro: pip install 'wdmoe-env[train]'\n"


def test_a_part_of_the_project_that_is_missing_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wdmoe_env.plugins", None)
    with pytest.raises(ModuleNotFoundError, match=r"wdmoe_env\.plugins"):
        main(["evaluate"])


def test_the_extras_that_it_names_are_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {extra for module in MODULES.values() for extra in module.extras.split(",")} <= set(extras)


def test_an_install_has_it_by_its_name_and_python_m_runs_it() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts == {"wdmoe": f"{main.__module__.rpartition('.')[0]}:{main.__name__}"}
    command = [sys.executable, "-m", "wdmoe_env", "train", "--scenario", "nowhere"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown scenario 'nowhere'" in done.stderr


def test_its_own_tables_load_nothing_heavy() -> None:
    program = "import sys; from wdmoe_env.command import main; main(['presets']); main(['version']); "
    program += "print(sorted({'torch', 'matplotlib', 'rich', 'tyro', 'polars', 'wandb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_seeds_train_in_processes_of_their_own_and_are_compared(tmp_path: Path) -> None:
    few = "--timesteps 512 --num-envs 4 --evaluate-episodes 1 --wandb disabled"
    train = f"train --scenario tiny-moe --seeds 0-1 {few} --set rollout 32 batch_size 32 n_epochs 1 --run-dir runs"
    evaluate = "evaluate --scenario tiny-moe --policies top-k,runs --episodes 2 --bound-steps 0 --out out"
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from wdmoe_env.command import main; sys.exit(main())"
    for command in (train, evaluate):
        line = [sys.executable, "-c", program, *command.split()]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/seed-1/best/policy.safetensors").exists()
    assert f"python {ROOT / 'train.py'} --scenario" in (tmp_path / "runs/seeds.json").read_text(encoding="utf-8")
    assert (tmp_path / "out/report.html").exists()


def test_the_package_itself_runs_as_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["wdmoe", "version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("wdmoe_env", run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("wdmoe-env ")
