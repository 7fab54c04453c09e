"""Modules of users: found in the working directory, named to child processes, and refused with the reason."""

import os
import subprocess
import sys

import pytest

from wdmoe_env.plugins import VARIABLE, import_plugin, load_plugins


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory of its own; whatever is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(VARIABLE, "")
    yield tmp_path
    for name in ("one_plugin", "two_plugin", "broken_plugin"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_modules_of_the_working_directory_are_imported_once_each_and_named_to_children(here):
    for name in ("one_plugin", "two_plugin"):
        (here / f"{name}.py").write_text("MARK = 3\n")
    load_plugins("one_plugin")
    load_plugins(" two_plugin , one_plugin,")
    assert os.environ[VARIABLE] == "one_plugin,two_plugin"
    code = (
        "import sys; from wdmoe_env.plugins import load_plugins; load_plugins(); print(sys.modules['two_plugin'].MARK)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout == "3\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "ModuleNotFoundError: No module named 'broken_plugin'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def", "SyntaxError: "),
        ("import baselines\nbaselines.register(baselines.make, 'price')", "baseline 'price' is registered already"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_the_reason(here, content, reason):
    if content is not None:
        (here / "broken_plugin.py").write_text(content)
    with pytest.raises(ValueError, match=f"module 'broken_plugin' cannot be imported: .*{reason}"):
        import_plugin("broken_plugin")
