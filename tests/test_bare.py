"""The environment alone, without any extra; `wheel_smoke.py` does the same with a built wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wheel_smoke
from support.wheel import build, installed  # noqa: F401 - fixtures

ROOT = Path(__file__).resolve().parents[1]
HIDE = f"""
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {(*wheel_smoke.EXTRAS, "PIL", "agents", "baselines", "evaluation", "explorer")!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.mark.slow
def test_the_environment_alone(installed: Path, tmp_path: Path) -> None:
    """What a wheel would install, where no extra can be imported."""
    shutil.copytree(installed, tmp_path, dirs_exist_ok=True)
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    command = [sys.executable, str(ROOT / "tests" / "wheel_smoke.py")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "the bare wheel works\n"), done.stderr
