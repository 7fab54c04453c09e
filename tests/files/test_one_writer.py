"""Results are written by `wdmoe_env.files.atomic` alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {
    "agents/files/table.py": "appends a row, and cuts it off again where the disk is full",
    "agents/training/side_by_side.py": "the log that a process prints to",
    "wdmoe_env/gating/trace_file.py": "the part within `replacing`, which is checked before it takes its place",
    "wdmoe_env/hardware/record/record.py": "appends a row as soon as it is measured, to a file that is new",
}


def writes(node: ast.AST) -> bool:
    """Whether a call opens a file for writing, writes one, or renames one."""
    if not isinstance(node, ast.Call):
        return False
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if method in ("write_text", "write_bytes", "truncate") or ast.unparse(node.func) in ("os.replace", "shutil.move"):
        return True
    words = [*node.args[:2], *(word.value for word in node.keywords)]
    modes = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    return ast.unparse(node.func).rpartition(".")[2] == "open" and any(set(mode) & set("wax+") for mode in modes)


@pytest.mark.slow
def test_nobody_else_writes_files() -> None:
    files = [ROOT / "train.py", ROOT / "evaluate.py"]
    files += [
        file
        for room in ("wdmoe_env", "agents", "baselines", "evaluation", "explorer")
        for file in (ROOT / room).rglob("*.py")
    ]
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    found = {file.relative_to(ROOT).as_posix() for file, tree in trees.items() if any(map(writes, ast.walk(tree)))}
    assert found == {"wdmoe_env/files/atomic.py", *ELSEWHERE}
