"""The tables of the reference are as the code is, and a key or an option without a meaning is told."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from support.sequence import ROOT

DOCS = ROOT / "docs"


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules beside the pages."""
    monkeypatch.syspath_prepend(DOCS)
    from site_parts import keys, options, tables

    return SimpleNamespace(keys=keys, options=options, tables=tables)


@pytest.mark.slow
def test_no_table_is_stale() -> None:
    # In a process of its own: other tests register compute models and path losses.
    done = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_line_of_a_page_is_written_between_marks_without_a_writer() -> None:
    marked = [page for page in (DOCS / "reference").glob("*.md") if "docs/generate.py writes it" in page.read_text()]
    assert {page.name for page in marked} == {
        "environment.md",
        "metrics.md",
        "options.md",
        "presets.md",
        "scenario-keys.md",
    }
    for page in marked:
        text = page.read_text(encoding="utf-8")
        assert text.count("<!-- begin ") == text.count("<!-- end ")


@dataclass(frozen=True)
class Options:
    """Made up."""

    number: int = 3
    """How many."""
    name: str | None = None
    """Who; a | b."""
    loud: bool = False
    """Whether."""


@dataclass(frozen=True)
class Silent:
    """Made up."""

    number: int = 3


def module_of(kind: type, monkeypatch: pytest.MonkeyPatch) -> str:
    module = ModuleType("made_up_command")
    vars(module)["Options"] = kind
    monkeypatch.setitem(sys.modules, "made_up_command", module)
    return "made_up_command"


def test_options_are_told_with_values_default_and_meaning(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = parts.options.Command("made-up", module_of(Options, monkeypatch))
    assert list(parts.options.rows(command, {"--number": "At most 5."})) == [
        ("`--number`", "integer", "`3`", "How many. At most 5."),
        ("`--name`", "text", "", "Who; a \\| b."),
        ("`--loud`", "flag", "off", "Whether."),
    ]


def test_an_option_without_a_meaning_and_a_note_of_none_are_refused(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = parts.options.Command("silent", module_of(Silent, monkeypatch))
    with pytest.raises(ValueError, match=r"made_up_command\.Options\.number has no docstring"):
        list(parts.options.rows(silent, {}))
    with pytest.raises(ValueError, match=r"notes of silent for \['--nothing'\]"):
        list(parts.options.rows(silent, {"--nothing": "x"}))


def test_a_key_without_a_meaning_is_refused(parts: SimpleNamespace) -> None:
    key = parts.keys.Key("radio.new", {"type": "number", "minimum": 0, "maximum": 1e6}, 1.0)
    assert key.allowed == "number, 0 to 1e6"
    with pytest.raises(ValueError, match=r"docs/words\.yaml has no 'radio\.new'"):
        parts.keys._row(key, {})
    assert parts.keys._row(key, {"radio.new": {"unit": "W", "meaning": "new"}}) == (
        "`radio.new`",
        "number, 0 to 1e6",
        "W",
        "`1.0`",
        "new",
    )


@pytest.mark.parametrize(
    ("place", "section"),
    [("name", "scenario"), ("devices[].compute.kind", "devices"), ("channel.trace.files", "channel.trace")],
)
def test_every_key_has_its_section(parts: SimpleNamespace, place: str, section: str) -> None:
    assert parts.keys.section_of(place) == section


def test_pages_are_found_by_their_marks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(DOCS)
    import generate

    (tmp_path / "reference").mkdir()
    page = tmp_path / "reference" / "page.md"
    page.write_text("<!-- begin ids: docs/generate.py writes it -->\nold\n<!-- end ids -->\n", encoding="utf-8")
    (tmp_path / "reference" / "other.md").write_text("nothing\n", encoding="utf-8")
    assert generate.pages(tmp_path) == [page]
    assert "| `WDMoE-paper-v0` | `paper` | 32 |" in generate.written(page)
    with pytest.raises(ValueError, match="region 'nothing', expected one of options"):
        generate.content("nothing", {})
