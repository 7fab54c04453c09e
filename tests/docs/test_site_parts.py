"""What the site adds to Sphinx: links out of the folder, charts as lists, formulas as pictures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from support.sequence import ROOT

DOCS = ROOT / "docs"


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules beside the pages."""
    pytest.importorskip("docutils", reason="the site needs the extra docs")
    monkeypatch.syspath_prepend(DOCS)
    import check_links
    from site_parts import accessible, docstrings, math, mermaid, outside

    return SimpleNamespace(
        accessible=accessible, docstrings=docstrings, math=math, mermaid=mermaid, outside=outside, links=check_links
    )


PAGE = DOCS / "how-to" / "train.md"


def test_links_out_of_the_folder_lead_to_the_repository(parts: SimpleNamespace) -> None:
    reader = parts.outside.Reader(ROOT, DOCS, "https://example.org/blob/main")
    source = (
        "[a](../../evaluate.py) [b](evaluate.md#x) [c](https://example.org) [d](../../CHANGELOG.md)\n"
        "```\n[e](../../x)\n```\n"
    )
    assert reader.read(source, PAGE) == (
        "[a](https://example.org/blob/main/evaluate.py) [b](evaluate.md#x) [c](https://example.org) "
        "[d](../project/changelog.md)\n```\n[e](../../x)\n```\n"
    )


def test_without_a_repository_files_come_with_the_site(parts: SimpleNamespace) -> None:
    reader = parts.outside.Reader(ROOT, DOCS, "")
    assert reader.read("[`a`](../../evaluate.py) [b](../../agents)", PAGE) == "{download}`a </../evaluate.py>` b"


def test_links_of_an_included_file_count_from_where_it_lies(parts: SimpleNamespace, tmp_path: Path) -> None:
    root, docs = tmp_path, tmp_path / "docs"
    (docs / "project").mkdir(parents=True)
    (root / "NEWS.md").write_text("# News\n\n[x](docs/x.md) ![y](docs/images/y.png)\n", encoding="utf-8")
    read = parts.outside.Reader(root, docs, "").read("```{include} ../../NEWS.md\n```\n", docs / "project" / "news.md")
    assert read == "# News\n\n[x](../x.md) ![y](../images/y.png)\n\n"


def test_a_chart_is_a_list_of_flows(parts: SimpleNamespace) -> None:
    chart = 'flowchart LR\n  a[the cell] -- "what it is" --> b[policy] -- decision --> a\n  b --> c\n'
    assert parts.mermaid.flows(chart) == [
        ("the cell", "policy", "what it is"),
        ("policy", "the cell", "decision"),
        ("policy", "c", ""),
    ]


def test_a_formula_is_a_picture_that_says_its_tex(parts: SimpleNamespace) -> None:
    pytest.importorskip("matplotlib")
    picture = parts.math.drawn(r"t = \max_u t_u \text{ for } u \ge 1")
    assert picture.startswith('<svg role="img" aria-label="t = \\max_u t_u \\text{ for } u \\ge 1" class="formula"')
    assert "<style" not in picture
    assert "<metadata" not in picture
    with pytest.raises(ValueError):
        parts.math.drawn(r"\nothing_like_this{")


def test_pages_are_mended(parts: SimpleNamespace) -> None:
    assert parts.accessible.mended('<pre>x</pre><pre tabindex="0">') == '<pre tabindex="0">x</pre><pre tabindex="0">'
    assert (
        parts.accessible.mended('<p class="caption" role="heading">')
        == '<p class="caption" role="heading" aria-level="2">'
    )
    assert parts.accessible.mended("<strong>a</strong> (<em>b</em>) -- c") == "<strong>a</strong> (<em>b</em>): c"


def test_a_line_of_several_arguments_is_one_name(parts: SimpleNamespace) -> None:
    assert parts.docstrings.joined(["    a, b: what", "    a: x, y: z", "a, b: what"]) == [
        "    a,b: what",
        "    a: x, y: z",
        "a, b: what",
    ]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text(
        '<p id="top"><a href="other.html#here">x</a><a href="#top">y</a><a href="https://example.org">z</a>', "utf-8"
    )
    (tmp_path / "other.html").write_text('<a id="here" href="index.html">back</a>', "utf-8")
    return tmp_path


def test_a_site_whose_links_lead_somewhere_is_right(
    parts: SimpleNamespace, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parts.links.main([str(site)]) == 0
    assert capsys.readouterr().out == "2 pages, 0 faults\n"


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ('<a href="gone.html">', "bad.html: gone.html: no such file"),
        ('<a href="other.html#gone">', "bad.html: other.html#gone: no such place in that page"),
        ('<img src="gone.png">', "bad.html: gone.png: no such file"),
        ('<script src="https://cdn.example.org/x.js">', "loads https://cdn.example.org/x.js from another site"),
    ],
)
def test_what_leads_nowhere_is_told(
    parts: SimpleNamespace, site: Path, capsys: pytest.CaptureFixture[str], page: str, told: str
) -> None:
    (site / "bad.html").write_text(page, encoding="utf-8")
    assert parts.links.main([str(site)]) == 1
    assert told in capsys.readouterr().out


def test_one_folder_is_asked_for(parts: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parts.links.main([str(tmp_path / "gone")]) == 2
    assert "expected one folder with a built site" in capsys.readouterr().err
