"""What setuptools cannot be told in pyproject.toml: in a wheel the project's packages lie within `wdmoe_env`.

In the repository `agents`, `baselines` and `evaluation` stand beside `wdmoe_env`. Installed so, they would collide with
packages of others that are called the same. A build copies them to `wdmoe_env.agents` and so on, and `train.py` and
`evaluate.py` to `wdmoe_env.train` and `wdmoe_env.evaluate`, and renames them where they are imported. An editable
install renames nothing; there `wdmoe_env.source_tree` makes the same names work.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PACKAGES = "agents", "baselines", "evaluation", "explorer"
SCRIPTS = "train", "evaluate"
HOME = "wdmoe_env"
_NAMES = "|".join((*PACKAGES, *SCRIPTS))
_PREFIX = r"^(?P<before>[ \t]*(?:>>> )?)"
_RENAMED = (
    (re.compile(rf"{_PREFIX}from (?P<name>{_NAMES})(?=[. ])", re.MULTILINE), rf"\g<before>from {HOME}.\g<name>"),
    (re.compile(rf"{_PREFIX}import (?P<name>{_NAMES})$", re.MULTILINE), rf"\g<before>from {HOME} import \g<name>"),
    (re.compile(rf"python (?P<name>{'|'.join(SCRIPTS)})\.py\b"), rf"python -m {HOME}.\g<name>"),
    (re.compile(rf"python -m (?P<name>{'|'.join(PACKAGES)})\b"), rf"python -m {HOME}.\g<name>"),
    (re.compile(rf'"python", "(?P<name>{"|".join(SCRIPTS)})\.py"'), rf'"python", "-m", "{HOME}.\g<name>"'),
)
_LEFT = re.compile(rf"{_PREFIX}(?:from|import) (?:{_NAMES})\b.*$", re.MULTILINE)


def renamed(source: str, name: str) -> str:
    """Python source of the repository as it stands in a wheel.

    Raises:
        ValueError: an import is written in a way that is not renamed; names the file and the line.
    """
    for pattern, replacement in _RENAMED:
        source = pattern.sub(replacement, source)
    if left := _LEFT.search(source):
        raise ValueError(f"{name}: {left[0].strip()!r} is not renamed in a wheel; import from, or import one package")
    return source


def add_packages(root: Path, home: Path) -> None:
    """Copy the packages and scripts of a repository into a built `wdmoe_env`; what was there before goes."""
    for package in PACKAGES:
        shutil.rmtree(home / package, ignore_errors=True)
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                _copy(path, home / path.relative_to(root))
    for script in SCRIPTS:
        _copy(root / f"{script}.py", home / f"{script}.py")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".py":
        target.write_text(renamed(source.read_text(encoding="utf-8"), str(source)), encoding="utf-8")
    else:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    from setuptools import setup
    from setuptools.command.build_py import build_py

    class BuildPackages(build_py):  # type: ignore[misc]  # untyped
        """Adds the packages to what is built, but for an editable install."""

        def run(self) -> None:
            super().run()
            if not self.editable_mode:
                add_packages(ROOT, Path(self.build_lib) / HOME)

    setup(cmdclass={"build_py": BuildPackages})
