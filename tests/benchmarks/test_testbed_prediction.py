"""Predicted and measured: the benchmark's rows, with a model of a few thousand weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("msgspec")

from support.miniature import miniature, save_bytes

from benchmarks import harness, testbed_prediction


@pytest.mark.slow
def test_rows_of_both_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = {"vocab_size": 259, "num_hidden_layers": 4, "num_local_experts": 8, "num_experts_per_tok": 2}
    save_bytes(tmp_path / "model", model=miniature("mixtral", max_position_embeddings=512, **shape))
    (tmp_path / "text").write_text("".join(map(chr, np.random.default_rng(0).integers(97, 123, 1100))))
    words = ["--model", str(tmp_path / "model"), "--text", str(tmp_path / "text"), "--policies", "top-k,price"]
    words += ["--passes", "1", "--slow-down", "1", "--json"]
    assert harness.command(testbed_prediction.main, testbed_prediction.Options, None, words) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["cell"], row["policy"]) for row in rows] == [
        (cell, policy) for cell in ("tiny-moe", "jetson") for policy in ("top-k", "price", "all")
    ]
    for row in rows:
        # Nothing is faster than what it is paced to.
        assert row["measured_ms"] >= 0.99 * row["predicted_ms"] > 0.0
        assert row["layers"] == {"all": 2}.get(row["policy"], 1) * {"tiny-moe": 32, "jetson": 16}[row["cell"]]
    ranks = {(row["cell"], row["policy"]): row["predicted_rank"] for row in rows}
    assert ranks["tiny-moe", "price"] == ranks["jetson", "price"] == 1
