"""Which translated pages are older than their originals.

A translated page begins with a comment for each page that it renders, which holds what that page was then:

    <!-- translation of: docs/glossary.md sha256: 0123456789abcdef -->

python docs/translations.py                     name the pages that are older than an original; status 1 if any is
python docs/translations.py --current [PAGE...] say that these pages, or all, render their originals as they are now
python docs/translations.py --moved OLD NEW     an original lies elsewhere now

A page that renders another original from now on has its comment changed by hand, and is then marked.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from wdmoe_env.files.atomic import write_text  # noqa: E402 - found from wherever Python was started

COMMENT = re.compile(r"^<!-- translation of: (?P<original>\S+) sha256: (?P<hash>[0-9a-f]+) -->$", re.MULTILINE)
DIGITS = 16
ADVICE = "bring it up to date, then run: python docs/translations.py --current {page}"


def pages(root: Path = ROOT) -> list[Path]:
    """All translated pages: README.zh-CN.md, and those below docs/zh."""
    return [root / "README.zh-CN.md", *sorted((root / "docs" / "zh").rglob("*.md"))]


def hash_of(path: Path) -> str:
    """What stands for a page's content: the first digits of its SHA-256."""
    return hashlib.sha256(path.read_text(encoding="utf-8").encode()).hexdigest()[:DIGITS]


def originals(page: Path) -> dict[str, str]:
    """The originals that a page names, by their paths from the root, and what each held when it was rendered."""
    return {found["original"]: found["hash"] for found in COMMENT.finditer(page.read_text(encoding="utf-8"))}


def older(page: Path, root: Path = ROOT) -> Iterator[str]:
    """For each original that has changed since, or is gone, one line that says what to do."""
    name = page.relative_to(root).as_posix()
    for original, known in originals(page).items():
        if not (root / original).is_file():
            yield f"{name}: there is no {original}; run: python docs/translations.py --moved {original} NEW"
        elif hash_of(root / original) != known:
            yield f"{name} is older than {original}: {ADVICE.format(page=name)}"


def make_current(page: Path, root: Path = ROOT) -> None:
    """Let a page name its originals as they are now.

    Raises:
        ValueError: an original does not exist.
    """
    if gone := [original for original in originals(page) if not (root / original).is_file()]:
        raise ValueError(f"{page}: there is no {gone[0]}; expected a page from {root}")

    def renewed(found: re.Match[str]) -> str:
        return found[0].replace(found["hash"], hash_of(root / found["original"]))

    _rewrite(page, renewed)


def move(old: str, new: str, root: Path = ROOT) -> None:
    """Let every page that names `old` name `new`, with the hash that it has: whether it changed is told as ever.

    Raises:
        ValueError: `new` does not exist.
    """
    if not (root / new).is_file():
        raise ValueError(f"{new} does not exist; expected a page from {root}")

    def renamed(found: re.Match[str]) -> str:
        return found[0].replace(f" {old} ", f" {new} ")

    for page in pages(root):
        _rewrite(page, renamed)


def _rewrite(page: Path, comment: Callable[[re.Match[str]], str]) -> None:
    text = page.read_text(encoding="utf-8")
    if (changed := COMMENT.sub(comment, text)) != text:
        write_text(page, changed)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python docs/translations.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--current", nargs="*", type=Path, metavar="PAGE", help="these pages, or all, are up to date")
    parser.add_argument("--moved", nargs=2, metavar=("OLD", "NEW"), help="an original lies elsewhere now")
    options = parser.parse_args(arguments)
    try:
        if options.moved:
            old, new = options.moved
            move(old, new, root)
        if options.current is not None:
            for page in options.current or pages(root):
                make_current(page if page.is_absolute() else root / page, root)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    told = [line for page in pages(root) for line in older(page, root)]
    print("\n".join(told) or "all translated pages render their originals as they are")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
