"""The revision that a result names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from wdmoe_env.files import provenance


def git(*words: str, at: Path) -> str:
    name = ["-c", "user.name=n", "-c", "user.email=e"]
    done = subprocess.run(["git", *name, *words], cwd=at, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_checkout_has_a_revision_and_says_where_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    git("init", at=tmp_path)
    (tmp_path / "a").write_text("1")
    git("add", "a", at=tmp_path)
    git("commit", "-m", "a", at=tmp_path)
    revision = git("rev-parse", "HEAD", at=tmp_path)
    assert provenance.git_revision() == revision
    (tmp_path / "a").write_text("2")
    assert provenance.git_revision() == f"{revision}-dirty"


def test_outside_of_a_checkout_or_where_git_fails_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.git_revision() is None
    (tmp_path / ".git").write_text("gitdir: nowhere")
    assert provenance.git_revision() is None


def test_what_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package"))
    assert set(provenance.versions()) == {"platform", "python", "wdmoe-env", "numpy"}
