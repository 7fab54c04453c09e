"""Links to files outside of `docs`: they work on GitHub, and lead to the repository, or to a copy, in the site.

What a page includes is read in here, too: its links count from where it lies.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LINK = re.compile(r"(?P<before>!?\[)(?P<text>[^\]]*)\]\((?P<path>(?!\w+:|#)[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
INCLUDE = re.compile(r"^```\{include\} (?P<path>\S+)\n```$", re.MULTILINE)
FENCED = re.compile(r"(^```.*?^```[^\n]*$)", re.MULTILINE | re.DOTALL)
PAGES = {
    "CHANGELOG.md": "project/changelog.md",
    "CITATION.cff": "project/citation.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "recipes/README.md": "how-to/recipes.md",
}
"""Files outside that the site has a page of."""


@dataclass(frozen=True)
class Reader:
    """Makes of the text of pages what the site can show.

    Attributes:
        root: folder of the repository.
        docs: folder of the pages.
        repository: address below which the repository's files are shown; empty where there is none.
    """

    root: Path
    docs: Path
    repository: str

    def read(self, source: str, page: Path) -> str:
        """A page's text with what it includes, and links that lead somewhere in the site."""

        def included(found: re.Match[str]) -> str:
            path = (page.parent / found["path"]).resolve()
            return self.relinked(path.read_text(encoding="utf-8"), path, page)

        return INCLUDE.sub(included, self.relinked(source, page, page))

    def relinked(self, source: str, origin: Path, page: Path) -> str:
        """Markdown whose links count from `origin`, as it stands in `page`; blocks of code stay as they are."""
        parts = FENCED.split(source)
        return "".join(
            part if part.startswith("```") else LINK.sub(lambda found: self._link(found, origin, page), part)
            for part in parts
        )

    def _link(self, found: re.Match[str], origin: Path, page: Path) -> str:
        target, text = (origin.parent / found["path"]).resolve(), found["text"]
        if not target.is_relative_to(self.root):
            return found[0]
        name, anchor = target.relative_to(self.root).as_posix(), found["anchor"] or ""
        shown = self.docs / PAGES[name] if name in PAGES else target
        if shown.is_relative_to(self.docs) and shown.suffix != ".py":
            return f"{found['before']}{text}]({os.path.relpath(shown, page.parent)}{anchor})"
        if self.repository:
            return f"{found['before']}{text}]({self.repository}/{name}{anchor})"
        copied = f"{{download}}`{text.replace('`', '')} </{os.path.relpath(target, self.docs)}>`"
        return copied if target.is_file() else text


def setup(app: Any, root: Path, docs: Path, repository: str) -> None:
    """Let every page be read so."""
    reader = Reader(root, docs, repository)

    def on_read(app: Any, name: str, source: list[str]) -> None:
        path = Path(app.env.doc2path(name))
        if path.suffix == ".md":
            source[0] = reader.read(source[0], path)

    app.connect("source-read", on_read)
