"""Gate weights that a real model gave: a file of them, checked before anything is drawn from it. NumPy alone."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.gating.trace_file import Values, read_trace
from wdmoe_env.settings import paths
from wdmoe_env.settings.paths import SUFFIX

SHARES: Final = {"train": 0.6, "validation": 0.2, "test": 0.2}
"""Share of the tokens that each split gets, in whole documents."""

Stretch = tuple[int, int]
"""First token, and the one behind the last."""


@dataclass(frozen=True, eq=False)
class GateTrace:
    """A file of gate weights whose every value has been checked; the values stay in the file until they are read.

    Attributes:
        path: the file.
        tokens, layers, experts: its size.
        top_k: experts that the model's router chooses for a token.
        metadata: what the file says of its model and text.
        document: (tokens,) int32 index of the context that each token stood in, in order.
    """

    path: Path
    tokens: int
    layers: int
    experts: int
    top_k: int
    metadata: dict[str, str]
    document: NDArray[np.int32] = field(repr=False)
    _values: Values = field(repr=False)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Router softmax of some tokens, (stop - start, layers, experts); each row sums to 1.

        Raises:
            ValueError: the file is gone, or was cut short since it was opened.
        """
        weights = np.asarray(self._values[start:stop], dtype=np.float32)
        return weights / weights.sum(axis=-1, keepdims=True)

    @cached_property
    def documents(self) -> tuple[Stretch, ...]:
        """Where each document lies."""
        inner = np.flatnonzero(np.diff(self.document)) + 1
        edges = [0, *inner.tolist(), self.tokens]
        return tuple(pairwise(edges))

    @cached_property
    def splits(self) -> dict[str, tuple[Stretch, ...]]:
        """Documents of each split. They are dealt in order, each to the split that lacks most of its share."""
        names, shares = list(SHARES), list(SHARES.values())
        dealt: dict[str, list[Stretch]] = {name: [] for name in names}
        held, seen = [0] * len(names), 0
        for start, stop in self.documents:
            seen += stop - start
            lack = [share * seen - have for share, have in zip(shares, held, strict=True)]
            to = lack.index(max(lack))
            held[to] += stop - start
            dealt[names[to]].append((start, stop))
        return {name: tuple(documents) for name, documents in dealt.items()}

    def draw_passes(self, passes: int, tokens: int, split: str, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw forward passes of consecutive tokens of one document, (passes, layers, experts, tokens), C-contiguous.

        All places of a split are equally likely. None is drawn twice, unless there are fewer than `passes`.

        Raises:
            ValueError: no document of the split is long enough.
        """
        self.check_length(tokens)
        fitting = [(start, stop - tokens + 1) for start, stop in self.splits[split] if stop - start >= tokens]
        ends = np.cumsum([last - first for first, last in fitting])
        picked = rng.choice(int(ends[-1]), size=passes, replace=int(ends[-1]) < passes)
        weights = np.empty((passes, self.layers, self.experts, tokens), dtype=np.float32)
        for row, place in enumerate(picked):
            which = int(np.searchsorted(ends, place, side="right"))
            start = fitting[which][1] - int(ends[which] - place)
            weights[row] = self.read(start, start + tokens).transpose(1, 2, 0)
        return weights

    def check_length(self, tokens: int) -> None:
        """Refuse passes of more tokens than the longest document of some split has.

        Raises:
            ValueError: names the file, the split and the longest document.
        """
        for split, documents in self.splits.items():
            longest = max((stop - start for start, stop in documents), default=0)
            if longest < tokens:
                raise ValueError(
                    f"{self.path}: the {split} part of its {len(self.documents)} documents has none of traffic.tokens "
                    f"= {tokens} tokens, the longest has {longest}"
                )

    def check_model(self, layers: int, experts: int, top_k: int) -> None:
        """Refuse a model of another size.

        Raises:
            ValueError: names the file and the values of both.
        """
        for name, expected in (("layers", layers), ("experts", experts), ("top_k", top_k)):
            if (value := getattr(self, name)) != expected:
                raise ValueError(f"{self.path} is of a model with {name} = {value}, but model.{name} is {expected}")


def open_trace(file: str) -> GateTrace:
    """Check a file of gate weights as a whole, once for each state of the file, and give access to it.

    Raises:
        ValueError: it is missing, broken, too large, or something else; names the file and what is wrong.
    """
    path = paths.resolve(file, SUFFIX)
    return _open(path.absolute(), _state(path))


def trace_state(file: str) -> tuple[int, ...]:
    """What differs when a file has been changed or replaced.

    Raises:
        ValueError: there is no such file.
    """
    return _state(paths.resolve(file, SUFFIX))


def _state(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is no regular file")
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=4)
def _open(path: Path, state: tuple[int, ...]) -> GateTrace:
    """Open and check one file; `state` lets a file that has changed be read again."""
    content = read_trace(path)
    tokens, layers, experts = content.shape
    top_k, metadata = int(content.metadata["top_k"]), content.metadata
    return GateTrace(path, tokens, layers, experts, top_k, metadata, content.document, content.values)
