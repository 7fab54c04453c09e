"""Lists in one word of a command line, separated by commas."""

from __future__ import annotations

from os.path import exists


def words(text: str) -> list[str]:
    """The parts of a list, in order and without empty ones; a path that exists is one part, whatever commas it holds.

    The same goes for a path after `LABEL=`.

    >>> words("top-k, price,")
    ['top-k', 'price']
    """
    parts, found, at = text.split(","), [], 0
    while at < len(parts):
        end = next((end for end in range(len(parts), at + 1, -1) if _is_path(",".join(parts[at:end]))), at + 1)
        found.append(",".join(parts[at:end]).strip())
        at = end
    return [part for part in found if part]


def _is_path(word: str) -> bool:
    label, equals, target = word.strip().partition("=")
    return exists(word.strip()) or bool(equals and "," not in label and exists(target))
