"""Recorded gate weights as the source of a scenario: what is drawn from a file, and which files are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save
from support.recorded import record, softmax
from support.toy import random_decision, toy

from wdmoe_env import Simulator, load_scenario
from wdmoe_env.gating.bank import gate_bank
from wdmoe_env.gating.trace import open_trace
from wdmoe_env.gating.trace_file import write_trace
from wdmoe_env.scenario import scenario_from
from wdmoe_env.settings import paths

SPLITS = ("train", "validation", "test")
HEADER = {"format": "wdmoe-gate-trace", "version": "1", "layers": "2", "experts": "5", "top_k": "2"}


def traced(file: Any, **overrides: Any) -> Any:
    return toy(gating={"trace": str(file), "bank_passes": 20}, **overrides)


def bank(scenario: Any, split: Any) -> Any:
    """Passes (P, I, E, J) of a split."""
    drawn = gate_bank(scenario.gating, scenario.model, scenario.traffic.tokens, split).weights
    return drawn.reshape(-1, scenario.model.layers, scenario.model.experts, scenario.traffic.tokens)


def places(passes: Any, source: Any) -> list[int]:
    """First token of each pass in the trace."""
    starts = []
    for drawn in passes.transpose(0, 3, 1, 2):
        found = np.flatnonzero(np.abs(source - drawn[0]).max(axis=(1, 2)) < 2e-3)
        assert len(found) == 1
        starts.append(int(found[0]))
        np.testing.assert_allclose(drawn, source[found[0] : found[0] + len(drawn)], atol=2e-3)
    return starts


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_passes_are_consecutive_tokens_of_one_document(tmp_path: Path, dtype: Any) -> None:
    scenario = traced(record(tmp_path / "a.safetensors", dtype=dtype))
    source = softmax(120)
    for split in SPLITS:
        drawn = bank(scenario, split)
        assert drawn.dtype == np.float32
        np.testing.assert_allclose(drawn.sum(axis=2, dtype=np.float64), 1.0, atol=1e-6)
        starts = np.array(places(drawn, source))
        assert (starts // 12 == (starts + 5) // 12).all()


def test_splits_share_no_document_and_have_their_share_of_tokens(tmp_path: Path) -> None:
    lengths = [5, 40, 12, 7, 30, 22, 9, 14, 31, 6, 18, 26] * 4
    trace = open_trace(record(tmp_path / "a.safetensors", lengths))
    held = {split: set(trace.splits[split]) for split in SPLITS}
    assert set.union(*held.values()) == set(trace.documents)
    assert sum(map(len, held.values())) == len(lengths)
    shares = [sum(stop - start for start, stop in held[split]) / sum(lengths) for split in SPLITS]
    np.testing.assert_allclose(shares, (0.6, 0.2, 0.2), atol=0.05)
    # Each split has documents from the beginning, the middle and the end of the trace.
    for split in SPLITS:
        starts = [start for start, _ in held[split]]
        assert min(starts) < 0.25 * trace.tokens < 0.75 * trace.tokens < max(starts)


def test_banks_draw_from_their_own_documents_without_repeats(tmp_path: Path) -> None:
    scenario = traced(record(tmp_path / "a.safetensors", [12] * 30))
    trace, source = open_trace(scenario.gating.trace), softmax(360)
    for split in SPLITS:
        starts = places(bank(scenario, split), source)
        assert len(set(starts)) == 20
        assert {s // 12 for s in starts} <= {start // 12 for start, _ in trace.splits[split]}
        assert len({s // 12 for s in starts}) > 3
    assert len(trace.splits["train"]) == 18


def test_places_repeat_only_where_there_are_fewer_than_passes(tmp_path: Path) -> None:
    scenario = traced(record(tmp_path / "a.safetensors", [7] * 5))
    assert len(set(places(bank(scenario, "test"), softmax(35)))) == 2
    assert bank(scenario, "test").shape == (20, 2, 5, 6)


def test_short_documents_are_passed_over(tmp_path: Path) -> None:
    scenario = traced(record(tmp_path / "a.safetensors", [12, 3] * 15))
    starts = np.array(places(bank(scenario, "train"), softmax(225)))
    assert (starts % 15 <= 6).all()


def test_a_changed_file_is_drawn_from_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    scenario = traced(record(path))
    before, status = bank(scenario, "train"), path.stat()
    assert bank(scenario, "train") is not None
    assert gate_bank(scenario.gating, scenario.model, 6, "train") is gate_bank(
        scenario.gating, scenario.model, 6, "train"
    )
    record(path, seed=9)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = bank(scenario, "train")
    assert not np.allclose(before, after)
    places(after, softmax(120, seed=9))


def test_a_file_that_has_changed_to_another_model_is_refused(tmp_path: Path) -> None:
    scenario = traced(record(tmp_path / "a.safetensors"))
    record(tmp_path / "a.safetensors", layers=3)
    with pytest.raises(ValueError, match=r"is of a model with layers = 3, but model\.layers is 2"):
        Simulator(scenario, 1)
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no file .*a\.safetensors"):
        Simulator(scenario, 1)


def test_an_episode_runs_on_a_trace(tmp_path: Path) -> None:
    scenario = traced(record(tmp_path / "a.safetensors"))
    simulator, rng = Simulator(scenario, 3), np.random.default_rng(0)
    observations = [simulator.reset(1)]
    for _ in range(scenario.steps_per_episode):
        outcome = simulator.step(random_decision(scenario, 3, rng))
        observations.append(outcome.observation)
        assert np.isfinite(outcome.reward).all()
    assert outcome.truncated.all()
    # Both layers of a pass are of the same tokens.
    seen = np.stack([observation.gate_weights.swapaxes(1, 2) for observation in observations[:2]], axis=1)
    assert len(places(seen, softmax(120))) == 3


def test_family_banks_are_as_they_always_were() -> None:
    scenario = load_scenario("paper", gating={"bank_passes": 2})
    drawn = gate_bank(scenario.gating, scenario.model, 64, "validation").weights
    assert drawn.shape == (64, 8, 64)
    expected = [0.3327261, 0.07477846, 0.00868547]
    np.testing.assert_allclose(drawn[[0, 31, 63], [0, 3, 7], [0, 9, 63]], expected, rtol=1e-6)


@pytest.mark.parametrize("split", [{"family": None, "trace": None}, {"family": "mixtral", "trace": "a.safetensors"}])
def test_exactly_one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: dict[str, Any]) -> None:
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="expected exactly one of them: a family or a file"):
        toy(gating=split)


def test_an_override_of_one_source_replaces_the_other(tmp_path: Path) -> None:
    file = record(tmp_path / "a.safetensors")
    from_file = load_scenario(toy(), gating={"trace": file})
    assert (from_file.gating.family, from_file.gating.trace, from_file.gating.bank_passes) == (None, file, 3)
    back = load_scenario(from_file, gating={"family": "olmoe"})
    assert (back.gating.family, back.gating.trace) == ("olmoe", None)
    assert load_scenario(from_file, gating={"bank_passes": 7}).gating.trace == file
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(toy().model_dump(mode="json")), encoding="utf-8")
    assert load_scenario(path, gating={"trace": file}) == from_file


def test_files_are_found_beside_the_scenario_and_kept_as_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / "beside").mkdir()
    file = record(folder / "a.safetensors")
    data = {**toy().model_dump(mode="json", exclude={"gating"}), "gating": {"trace": "a.safetensors"}}
    (folder / "scenario.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_scenario("beside/scenario.yaml").gating.trace == file
    monkeypatch.chdir(folder)
    assert traced("a.safetensors").gating.trace == file


def test_shipped_traces_are_named_without_their_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "SHIPPED", tmp_path)
    file = record(tmp_path / "small.safetensors")
    scenarios = [traced(name) for name in ("small", "small.safetensors", file)]
    assert [scenario.gating.trace for scenario in scenarios] == ["small"] * 3
    assert bank(scenarios[0], "train").shape == (20, 2, 5, 6)
    with pytest.raises(ValueError, match=r"no file 'smaller': tried .*smaller.safetensors"):
        traced("smaller")


def test_settings_from_a_policy_file_open_nothing(tmp_path: Path) -> None:
    scenario = traced(record(tmp_path / "a.safetensors"))
    data = scenario.model_dump(mode="json")
    (tmp_path / "a.safetensors").unlink()
    assert scenario_from(data) == scenario
    with pytest.raises(ValueError, match=r"gating\.trace: no file"):
        load_scenario(scenario_from(data))
    with pytest.raises(ValueError, match=r"no file .*a\.safetensors"):
        Simulator(scenario_from(data), 1)


def test_channel_traces_are_still_found_beside_the_scenario(tmp_path: Path) -> None:
    data = load_scenario("jetson-wifi").model_dump(mode="json")
    (tmp_path / "walk.csv").write_bytes((paths.SHIPPED / "synthetic-wifi.csv").read_bytes())
    data["channel"]["trace"]["files"] = ["walk.csv"]
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    trace = load_scenario(tmp_path / "scenario.yaml").channel.trace
    assert trace is not None
    assert trace.files == (str(tmp_path / "walk.csv"),)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model": {"layers": 3}}, "is of a model with layers = 2, but model.layers is 3"),
        ({"model": {"experts": 6}}, "is of a model with experts = 5, but model.experts is 6"),
        ({"model": {"top_k": 1}}, "is of a model with top_k = 2, but model.top_k is 1"),
        (
            {"traffic": {"tokens": 13}},
            "the train part of its 10 documents has none of traffic.tokens = 13 tokens, the longest has 12",
        ),
    ],
)
def test_a_trace_of_another_model_is_refused(tmp_path: Path, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.safetensors:? .*{message}"):
        traced(record(tmp_path / "a.safetensors"), **overrides)


def test_a_trace_without_a_document_for_each_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the test part of its 2 documents has none .* the longest has 0"):
        traced(record(tmp_path / "a.safetensors", [50, 50]))


def tensors(**changes: Any) -> dict[str, Any]:
    made = {"gate_weights": softmax(60), "document": np.repeat(np.arange(5, dtype=np.int32), 12), **changes}
    return {name: value for name, value in made.items() if value is not None}


def spoiled(value: float, dtype: Any = np.float32) -> Any:
    weights = softmax(60).astype(dtype)
    weights[37, 1, 2] = value
    return weights


FALLING = np.repeat(np.array([0, 1, 3, 2, 4], dtype=np.int32), 12)

BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is broken, or no safetensors file"),
    "text": (b"token,expert\n" * 20, "its header is said to have .* bytes, expected at most 1,048,576"),
    "large header": ((2**40).to_bytes(8, "little") + b"{}", "its header is said to have 1,099,511,627,776 bytes"),
    "cut short": (save(tensors(), HEADER)[:-3], "is broken, or no safetensors file"),
    "foreign": (save({"weight": np.ones((3, 3))}), "format in its header is None, expected 'wdmoe-gate-trace'"),
    "version": (save(tensors(), {**HEADER, "version": "2"}), "version in its header is '2', expected '1'"),
    "no document": (save(tensors(document=None), HEADER), "it holds gate_weights, expected document and gate_weights"),
    "more tensors": (save(tensors(more=np.ones(3)), HEADER), "it holds document, gate_weights, more, expected"),
    "double": (save(tensors(gate_weights=softmax(60).astype(np.float64)), HEADER), r"F64 \(60, 2, 5\), expected F16"),
    "flat": (save(tensors(gate_weights=softmax(60)[:, 0]), HEADER), r"gate_weights is F32 \(60, 5\), expected"),
    "no tokens": (
        save(tensors(gate_weights=softmax(0), document=np.zeros(0, np.int32)), HEADER),
        r"gate_weights is F32 \(0, 2, 5\), expected",
    ),
    "long index": (save(tensors(document=FALLING.astype(np.int64)), HEADER), r"document is I64 \(60,\), expected I32"),
    "short index": (save(tensors(document=FALLING[:-1]), HEADER), r"document is I32 \(59,\), expected I32 \(60,\)"),
    "falling": (save(tensors(document=FALLING), HEADER), "document falls or is negative"),
    "negative": (save(tensors(document=FALLING * 0 - 1), HEADER), "document falls or is negative"),
    "layers": (save(tensors(), {**HEADER, "layers": "3"}), "layers in its header is '3', but gate_weights has 2"),
    "experts": (save(tensors(), {**HEADER, "experts": "x"}), "experts in its header is 'x', but gate_weights has 5"),
    "top-k": (save(tensors(), {**HEADER, "top_k": "6"}), "top_k in its header is '6', expected 1 to 5 experts"),
    "top-k text": (save(tensors(), {**HEADER, "top_k": "²"}), "top_k in its header is '²', expected 1 to 5"),
    "nan": (save(tensors(gate_weights=spoiled(np.nan)), HEADER), "of token 37 in layer 1 sum to nan"),
    "infinite": (save(tensors(gate_weights=spoiled(np.inf, np.float16)), HEADER), "of token 37 in layer 1 sum to inf"),
    "sum": (save(tensors(gate_weights=softmax(60) * np.float32(1.01)), HEADER), "token 0 in layer 0 sum to 1.01"),
    "below 0": (
        save(tensors(gate_weights=np.float32([-0.5, 0.5, 0.5, 0.25, 0.25]) * np.ones((60, 2, 1), "f4")), HEADER),
        "sum to 1, the least is -0.5; expected a sum of 1 within 1e-05, and none below 0",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BROKEN)
def test_broken_and_foreign_files_are_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    blob, message = BROKEN[kind]
    (file := tmp_path / "a.safetensors").write_bytes(blob)
    with pytest.raises(ValueError, match=rf"a\.safetensors is no trace of gate weights: .*{message}"):
        traced(file)


def test_files_that_are_too_large_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.truncate(65 * 10**9)
    with pytest.raises(ValueError, match="it has 65,000,000,000 bytes, expected at most 64,000,000,000"):
        traced(tmp_path / "a.safetensors")


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(ValueError, match="no file"):
            traced(tmp_path / name)


def test_sixteen_bits_of_many_experts_are_no_fault(tmp_path: Path) -> None:
    trace = open_trace(record(tmp_path / "a.safetensors", [8] * 5, layers=1, experts=512))
    np.testing.assert_allclose(trace.read(0, 40).sum(axis=-1), 1.0, atol=1e-6)


def test_writing_refuses_what_could_not_be_read_and_leaves_what_was_there(tmp_path: Path) -> None:
    before = Path(record(path := tmp_path / "a.safetensors")).read_bytes()
    with pytest.raises(
        ValueError, match=r"a\.safetensors was not written: gate_weights of token 37 in layer 1 sum to n"
    ):
        write_trace(path, spoiled(np.nan), FALLING * 0, {"top_k": "2"})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.slow
def test_a_trace_is_read_without_torch(tmp_path: Path) -> None:
    file = record(tmp_path / "a.safetensors")
    scenario = json.dumps(traced(file).model_dump(mode="json"))
    code = (
        "import json, sys; from wdmoe_env import Simulator; from wdmoe_env.scenario import scenario_from; "
        "Simulator(scenario_from(json.loads(sys.argv[1])), 1).reset(0); import wdmoe_env.moe; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, scenario], check=True, timeout=60)


@pytest.mark.parametrize("left", [0, 100, -4])
def test_a_file_that_is_cut_short_while_it_is_open_is_an_error(tmp_path: Path, left: int) -> None:
    """Where values were mapped into memory it was the end of the process."""
    file = Path(record(tmp_path / "a.safetensors"))
    trace = open_trace(str(file))
    os.truncate(file, left if left >= 0 else file.stat().st_size + left)
    with pytest.raises(ValueError, match=r"a\.safetensors was cut short since it was opened: put it back"):
        trace.read(100, 120)
    file.unlink()
    with pytest.raises(ValueError, match=r"a\.safetensors cannot be read: No such file"):
        trace.read(0, 2)
