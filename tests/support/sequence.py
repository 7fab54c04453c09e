"""Pages that are a sequence: files to write, and programs to run one after the other in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEP = re.compile(
    r"<!-- (?P<what>sequence|file: (?P<file>\S+)) -->\n(?:<!-- not run: [^\n]+\n)?```(?P<kind>\w+)\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


def steps(page: Path) -> list[dict[str, str]]:
    """Every step of a page's sequence: a file to write, or a program in sh or Python."""
    return [found.groupdict() for found in STEP.finditer(page.read_text(encoding="utf-8"))]


def replaced(code: str, others: Mapping[str, str]) -> str:
    """A program with other words in it, to be quicker, or to run where there is no `.venv`."""
    for old, new in others.items():
        code = code.replace(old, new)
    return code


def run(kind: str, code: str, folder: Path, timeout: float = 120.0) -> str:
    """Run a program in a folder, and return what it prints; it must end well."""
    command = ["bash", "-e", "-o", "pipefail"] if kind == "sh" else [sys.executable, "-"]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        input=code,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def played(page: Path, folder: Path, others: Mapping[str, str], timeout: float = 120.0) -> Iterator[tuple[str, str]]:
    """Write and run every step of a page; each program, as it was run, with what it printed."""
    for step in steps(page):
        if step["file"]:
            (folder / step["file"]).write_text(step["code"], encoding="utf-8")
        else:
            code = replaced(step["code"], others)
            yield code, run(step["kind"], code, folder, timeout)
