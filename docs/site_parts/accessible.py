"""What Sphinx and its themes write that keeps somebody out: it is mended in the pages when they are written.

What scrolls can be reached by keys, captions that are headings have a level, and printed tables have no colours of
their own, which would be read badly on one of the two backgrounds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from wdmoe_env.files.atomic import write_text

MENDED: Final = (
    (r'(<p class="caption" role="heading")>', r'\1 aria-level="2">'),
    (r"<pre(?![^>]*tabindex)", '<pre tabindex="0"'),
    (r'<div class="table-wrapper', r'<div tabindex="0" class="table-wrapper'),
    (r'<span style="[^"]*color: #7f7f7f[^"]*">', '<span class="dim">'),
    (r'<span style="(?:[^"]*; )?color: #[^"]*">', "<span>"),
    (r"(</strong>(?: \(.*?\))?) -- ", r"\1: "),
)
"""What is written, and what it should be."""


def mended(page: str) -> str:
    """The HTML of a page as it should be."""
    for pattern, replacement in MENDED:
        page = re.sub(pattern, replacement, page)
    return page


def setup(app: Any) -> None:
    """Mend all pages at the end of a build."""

    def on_finished(app: Any, error: Exception | None) -> None:
        if error is None and app.builder.format == "html":
            for path in Path(app.outdir).rglob("*.html"):
                text = path.read_text(encoding="utf-8")
                if (better := mended(text)) != text:
                    write_text(path, better)

    app.connect("build-finished", on_finished)
