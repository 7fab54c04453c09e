"""Files and modules run as Python would run them, in a process that ends with its parent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wdmoe_env.workers import orphans


def test_a_file_and_a_module_run_with_their_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = list[int]()
    monkeypatch.setattr(orphans, "end_with", watched.append)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "told.py").write_text("import sys\nprint(__name__, sys.argv[1:])\n")
    orphans.main(["12", str(tmp_path / "told.py"), "--resume", "run"])
    orphans.main(["13", "told", "--resume"])
    assert watched == [12, 13]
    assert capsys.readouterr().out == "__main__ ['--resume', 'run']\n__main__ ['--resume']\n"


def test_a_process_whose_parent_is_another_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(orphans.os, "_exit", end)
    with pytest.raises(SystemExit):
        orphans._watch(-1)
