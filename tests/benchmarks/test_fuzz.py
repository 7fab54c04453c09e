"""A short turn of every kind of fuzzing; and what is wrong, raw or slow is counted as such."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import fuzz_cases
from benchmarks.fuzz_cases import Row, attempt
from benchmarks.fuzz_targets import TARGETS, WrongError, mutated

MANY = {"decisions", "actions", "YAML files"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TARGETS)
def test_every_case_is_right_or_refused_in_words(kind: str, tmp_path: Path) -> None:
    target = TARGETS[kind][1]

    @settings(
        max_examples=3 if kind == "Parquet" else 120 if kind in MANY else 40,
        deadline=None, derandomize=True, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, 2**32 - 1))
    def tried(seed: int) -> None:
        outcome, detail = attempt(target, seed, tmp_path, Row(kind))
        assert outcome in ("right", "refused"), detail

    tried()


@pytest.mark.parametrize(
    ("target", "outcome"),
    [
        (lambda rng, folder: True, "right"),
        (lambda rng, folder: False, "refused"),
        (lambda rng, folder: wrong(), "wrong"),
        # Raised by a statement of the project, and by what it calls.
        (lambda rng, folder: refuse("tokens is 0, expected at least 1"), "refused"),
        (lambda rng, folder: refuse(""), "raw error"),
        (lambda rng, folder: np.zeros(3).reshape(2, 2), "raw error"),
        (lambda rng, folder: rng.integers(-5), "raw error"),
        (lambda rng, folder: np.linalg.inv(np.zeros((2, 2))), "raw error"),
        (lambda rng, folder: os.environ["NO_SUCH_VARIABLE"], "raw error"),
        (lambda rng, folder: math.exp(1e9), "raw error"),
    ],
)
def test_outcomes_are_told_apart(target: Any, outcome: str, tmp_path: Path) -> None:
    assert attempt(target, 0, tmp_path, Row("x"))[0] == outcome


def wrong() -> bool:
    raise WrongError("latency is nan")


def refuse(text: str) -> bool:
    raise ValueError(text)


def test_what_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_cases, "PATIENCE_S", 0.2)
    row = Row("x")

    def hangs(rng: Any, folder: Path) -> bool:
        while True:
            time.sleep(0.01)

    assert attempt(hangs, 0, tmp_path, row)[0] == "hang"
    assert row.slowest_s >= 0.2


def test_content_is_really_changed() -> None:
    text, rng = b"seconds,snr_db\n0,10\n1,12.5\n", np.random.default_rng(0)
    changed = {mutated(text, rng) for _ in range(200)}
    assert len(changed) > 100
