"""Writes the tables of the reference that are known to the code, between marks in the pages.

python docs/generate.py            write them
python docs/generate.py --check    name the pages that are not as the code is; status 1 if any is
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

DOCS: Final = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from site_parts import facts, keys, options  # noqa: E402 - beside this file

from wdmoe_env.files.atomic import write_text  # noqa: E402
from wdmoe_env.files.yaml import read_yaml  # noqa: E402

REGION: Final = re.compile(r"(<!-- begin ([\w. -]+): docs/generate\.py writes it -->\n).*?(<!-- end \2 -->)", re.DOTALL)
WORDS: Final = DOCS / "words.yaml"


def content(name: str, words: dict[str, Any]) -> str:
    """What stands in a region.

    Raises:
        ValueError: nothing is known by this name.
    """
    if name.startswith("keys "):
        return keys.section(name.removeprefix("keys "), words["scenario"])
    known = {
        "options": lambda: options.page(words["options"]),
        "presets": facts.presets,
        "ids": facts.ids,
        "step metrics": lambda: facts.step_metrics(words["step metrics"]),
        "evaluation metrics": lambda: facts.evaluation_metrics(words["evaluation metrics"]),
    }
    if name not in known:
        raise ValueError(f"region {name!r}, expected one of {', '.join(known)}, or keys SECTION")
    return known[name]()


def pages(docs: Path = DOCS) -> list[Path]:
    """The pages that have such tables."""
    return [
        page for page in sorted((docs / "reference").glob("*.md")) if REGION.search(page.read_text(encoding="utf-8"))
    ]


def written(page: Path) -> str:
    """A page as it should be."""
    words = read_yaml(WORDS)
    text = page.read_text(encoding="utf-8")
    return REGION.sub(lambda found: f"{found[1]}\n{content(found[2], words)}\n{found[3]}", text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python docs/generate.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and name what is stale")
    check = parser.parse_args(arguments).check
    stale = [page for page in pages() if written(page) != page.read_text(encoding="utf-8")]
    for page in stale:
        if check:
            print(f"{page.relative_to(DOCS.parent)} is not as the code is; run: python docs/generate.py")
        else:
            write_text(page, written(page))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
