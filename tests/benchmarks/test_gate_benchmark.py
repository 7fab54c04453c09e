"""The benchmark that compares gate weights: its statistics on weights whose structure is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.recorded import record, softmax

from benchmarks import gate_statistics, harness

from wdmoe_env.gating.trace_file import write_trace

OPTIONS = gate_statistics.Options(family=["mixtral", "uniform"], tokens=16, passes=64)


def linked(path: Path) -> str:
    """A trace whose second layer's first choice follows from the first layer's; the third is on its own."""
    weights = softmax(960, layers=3, experts=8)
    weights[:, 1] = np.roll(weights[:, 0], 3, axis=-1)
    write_trace(path, weights, np.repeat(np.arange(20, dtype=np.int32), 48), {"top_k": "2"})
    return str(path)


def test_a_trace_stands_beside_families_and_what_is_published(tmp_path: Path) -> None:
    trace = linked(tmp_path / "mine.safetensors")
    found = list(gate_statistics.rows(replace(OPTIONS, trace=[trace], every_layer=True)))
    by = {(row.source, row.layer): row for row in found}
    assert list(dict.fromkeys(row.source for row in found)) == [
        *("mixtral, published", "mixtral, synthetic", "uniform, synthetic", "mine")
    ]
    published = by["mixtral, published", None]
    assert (published.first_weight_mean, published.first_weight_sd) == (0.70, 0.13)
    synthetic = by["mixtral, synthetic", None]
    assert synthetic.first_weight_mean == pytest.approx(published.first_weight_mean, abs=0.02)
    assert synthetic.next_layer_bits == pytest.approx(0.0, abs=0.01)
    # Eight first choices, about equally likely, that tell all of the next layer's, or nothing.
    assert by["mine", 0].next_layer_bits == pytest.approx(3.0, abs=0.1)
    assert by["mine", 1].next_layer_bits == pytest.approx(0.0, abs=0.1)
    assert by["mine", 2].next_layer_bits is None
    assert by["mine", None].next_layer_bits == pytest.approx(1.5, abs=0.1)
    assert by["mine", None].passes == 60
    assert by["mine", None].same_first == pytest.approx(1 / 8, abs=0.03)
    assert by["mine", None].share_one == pytest.approx(by["mine", None].share_one_by_chance, abs=0.03)


def test_passes_lie_within_documents(tmp_path: Path) -> None:
    trace = gate_statistics.open_trace(record(tmp_path / "a.safetensors", [12, 5, 9]))
    passes = gate_statistics.passes_of(trace, 4, 100)
    source = softmax(26)
    starts = [int(np.abs(source - one[:, :, 0]).max(axis=(1, 2)).argmin()) for one in passes]
    assert starts == [0, 4, 8, 12, 17, 21]
    np.testing.assert_allclose(passes[5].transpose(2, 0, 1), source[21:25], atol=1e-3)
    assert len(gate_statistics.passes_of(trace, 4, 3)) == 3


def test_rows_as_json_and_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = replace(OPTIONS, trace=[linked(tmp_path / "mine.safetensors")], family=[], json=True)
    gate_statistics.main(options)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["layer"] for row in rows] == [0, 15, 31, None, 0, 1, 2, None]
    gate_statistics.main(replace(options, json=False))
    table = capsys.readouterr().out
    assert "mixtral, published" in table
    assert "…" not in table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--tokens", "1"], "--tokens is 1, expected at least 2"),
        (["--passes", "0"], "--passes is 0, expected at least 1"),
        (["--trace", "none"], "no file 'none'"),
    ],
)
def test_faults_are_one_line(changes: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert harness.command(gate_statistics.main, gate_statistics.Options, None, changes) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_trace_of_short_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no document of --tokens 16 tokens"):
        gate_statistics.main(replace(OPTIONS, trace=[record(tmp_path / "a.safetensors")], family=[]))
