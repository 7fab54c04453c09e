"""Translated pages are as new as their originals, and say the same figures."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
OWN = "<!-- written in Chinese: no original -->"
CODE = re.compile(r"^```(?:python|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def translations() -> ModuleType:
    """`docs/translations.py`, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("translations_of_docs", ROOT / "docs" / "translations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = translations()
PAGES: list[Path] = TOOL.pages()


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_page_is_older_than_its_originals(page: Path) -> None:
    told = "\n".join(TOOL.older(page))
    assert not told, told


def test_every_page_names_its_originals_or_says_that_it_has_none() -> None:
    assert len(PAGES) >= 5
    for page in PAGES:
        first = page.read_text(encoding="utf-8").partition("\n")[0]
        assert first == OWN or TOOL.COMMENT.fullmatch(first), f"{page} begins with {first!r}"


def figures(page: str) -> list[list[str]]:
    """The numbers of each row of a page's tables, in order of size: languages order them differently."""
    return [sorted(re.findall(r"\d[\d.,]*\d|\d", line)) for line in text(page).splitlines() if line[:1] == "|"]


def test_the_readme_says_the_same_figures_in_both_languages() -> None:
    assert len(figures("README.md")) > 15
    assert figures("README.zh-CN.md") == figures("README.md")


def test_the_readme_gives_the_same_programs_in_both_languages() -> None:
    english, chinese = (
        [re.sub(r" *#.*| --lang zh", "", block) for block in CODE.findall(text(page))]
        for page in ("README.md", "README.zh-CN.md")
    )
    assert len(english) == 5
    assert chinese == english


def terms(page: str) -> dict[str, str]:
    """Of each English term of a glossary's tables its symbol."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text(page).splitlines() if line[:1] == "|"
    ]
    return {row[0]: row[1] for row in rows if row[0] not in ("term", "英文") and set(row[0]) != {"-"}}


def test_the_glossary_has_every_term_with_its_symbol_in_both_languages() -> None:
    (english,) = TOOL.originals(ROOT / "docs/zh/glossary.md")
    assert terms("docs/zh/glossary.md") == terms(english)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """An original and its translation, up to date."""
    (tmp_path / "docs/zh").mkdir(parents=True)
    (tmp_path / "README.md").write_text("one\n", encoding="utf-8")
    comment = f"<!-- translation of: README.md sha256: {TOOL.hash_of(tmp_path / 'README.md')} -->"
    (tmp_path / "README.zh-CN.md").write_text(f"{comment}\n\u4e00\n", encoding="utf-8")
    return tmp_path


def test_a_changed_original_is_told_until_the_page_is_marked(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert TOOL.main([], house) == 0
    (house / "README.md").write_text("two\n", encoding="utf-8")
    capsys.readouterr()
    assert TOOL.main([], house) == 1
    told = capsys.readouterr().out
    assert "README.zh-CN.md is older than README.md" in told
    assert "python docs/translations.py --current README.zh-CN.md" in told
    assert TOOL.main(["--current", "README.zh-CN.md"], house) == 0
    assert (house / "README.zh-CN.md").read_text(encoding="utf-8").endswith(" -->\n\u4e00\n")


def test_an_original_that_moves_is_followed(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (house / "README.md").rename(house / "docs/start.md")
    assert TOOL.main([], house) == 1
    assert "there is no README.md; run: python docs/translations.py --moved README.md NEW" in capsys.readouterr().out
    assert TOOL.main(["--moved", "README.md", "docs/start.md"], house) == 0
    assert list(TOOL.originals(house / "README.zh-CN.md")) == ["docs/start.md"]


@pytest.mark.parametrize("arguments", [["--moved", "README.md", "docs/nowhere.md"], ["--current"]])
def test_an_original_that_is_not_there_is_refused(
    arguments: list[str], house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (house / "README.md").unlink()
    with pytest.raises(SystemExit) as ended:
        TOOL.main(arguments, house)
    assert ended.value.code == 2
    assert "expected a page from" in capsys.readouterr().err
