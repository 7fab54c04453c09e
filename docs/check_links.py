"""Links of a built site: `python docs/check_links.py build/docs` names dead ones, and what asks a network.

Every link, picture, script and style of every page is looked at: a file must be there, and an anchor within it.
Links to other sites are for readers to follow, and are not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

LOADED: Final = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
"""What a browser loads by itself, by its tag."""


@dataclass
class Page(HTMLParser):
    """What a page holds.

    Attributes:
        anchors: what can be linked to in it.
        links: what it links to.
        loaded: what a browser loads for it.
    """

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag is called and leads to."""
        known = {name: value for name, value in attrs if value}
        self.anchors |= {known[name] for name in ("id", "name") if name in known}
        if tag == "a" and "href" in known:
            self.links.append(known["href"])
        elif tag in LOADED and LOADED[tag] in known and known.get("rel") not in ("canonical", "search"):
            self.loaded.append(known[LOADED[tag]])


@cache
def read(path: Path) -> Page:
    """The page in a file."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def faults(site: Path) -> Iterator[str]:
    """A line for each link that leads nowhere, and for each thing that a page loads from elsewhere."""
    for path in sorted(site.rglob("*.html")):
        page, name = read(path), path.relative_to(site).as_posix()
        for target in page.loaded:
            if urlsplit(target).scheme in ("http", "https") or target.startswith("//"):
                yield f"{name}: loads {target} from another site"
        for target in [*page.links, *page.loaded]:
            if reason := _fault(target, path):
                yield f"{name}: {target}: {reason}"


def _fault(target: str, page: Path) -> str:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc or target.startswith("data:"):
        return ""
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if path.is_dir():
        path /= "index.html"
    if not path.is_file():
        return "no such file"
    anchor = unquote(parts.fragment)
    if anchor and path.suffix == ".html" and anchor not in read(path).anchors:
        return "no such place in that page"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 1 where a link leads nowhere."""
    site, *rest = map(Path, sys.argv[1:] if arguments is None else arguments)
    if rest or not site.is_dir():
        print(f"error: {site} is given, expected one folder with a built site", file=sys.stderr)
        return 2
    found = list(dict.fromkeys(faults(site)))
    pages = len(list(site.rglob("*.html")))
    print("\n".join([*found, f"{pages} pages, {len(found)} faults"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
