"""Files known by their content: what is kept of them, compared, and found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from wdmoe_env.settings import contents
from wdmoe_env.settings.contents import NamedFile, digest_of, digests, fingerprint, kept_files, named_files, relocated


def test_files_are_the_same_by_content_or_else_by_path() -> None:
    assert NamedFile("/a", "x") == NamedFile("/b", "x")
    assert NamedFile("/a", "x") != NamedFile("/a", "y")
    assert NamedFile("/a", None) == NamedFile("/a", "y")
    assert NamedFile("/a", None) != NamedFile("/b", "y")
    assert NamedFile("/a", "x") != "/a"
    assert repr(NamedFile("/a", "0123456789abcdef")) == "'/a' (sha256 0123456789ab)"
    assert repr(NamedFile("/a", None)) == "'/a'"


def test_a_digest_follows_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "log.csv"
    assert digest_of(file) is None
    assert digest_of(tmp_path) is None
    file.write_text("a")
    first = digest_of(file)
    file.write_text("bb")
    assert None not in (first, digest_of(file))
    assert first != digest_of(file)

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(contents, "_digest", broken)
    assert digest_of(file) is None


def test_what_is_kept_names_the_files_of_a_scenario_alone(tmp_path: Path) -> None:
    log = tmp_path / "data" / "log.csv"
    log.parent.mkdir()
    log.write_text("a")
    data = {"channel": {"trace": {"files": [str(log), "/nowhere.csv"]}}, "gating": {"trace": "shipped"}, "name": "x"}
    kept = kept_files(data, tmp_path / "run")
    assert kept == {str(log): {"sha256": digest_of(log), "relative": "../data/log.csv"}}
    assert digests(kept) == {str(log): digest_of(log)}
    assert digests(None) == digests({"/a": "x", "/b": {"sha256": 5, "relative": "b"}}) == {}
    known = named_files(data, digests(kept))["channel"]["trace"]["files"]
    assert [file.digest for file in known] == [digest_of(log), None]
    before = fingerprint(data)
    moved = log.rename(tmp_path / "other.csv")
    assert fingerprint({**data, "channel": {"trace": {"files": [str(moved), "/nowhere.csv"]}}}) == before


def test_files_that_moved_are_found_and_others_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("a")
    data = {"compute": {"file": str(log), "other": str(log)}}
    kept = kept_files(data, tmp_path / "run")
    assert relocated(data, None, tmp_path) == relocated(data, kept, tmp_path) == data
    assert relocated(data, {str(log): "broken"}, tmp_path) == data
    new = tmp_path / "new"
    new.mkdir()
    log.rename(new / "log.csv")
    assert relocated(data, kept, new / "run") == {"compute": {"file": str(new / "log.csv"), "other": str(log)}}
    (new / "log.csv").write_text("b")
    with pytest.raises(ValueError, match=r"new/log.csv holds something else than .*/log.csv did .sha256 \w{12}."):
        relocated(data, kept, new / "run")
    (new / "log.csv").unlink()
    with pytest.raises(ValueError, match=r"no file '.*/log.csv' any more: tried .*; put it back, or beside the run"):
        relocated(data, kept, new / "run")
