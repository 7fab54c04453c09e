"""Recording on the CPU, small: the schema is written, and check, fit and replay take it from there."""

import builtins

import numpy as np
import pytest
from scipy import stats

from wdmoe_env.hardware.__main__ import main
from wdmoe_env.hardware.latency.replay import latency_distribution, latency_sequence
from wdmoe_env.hardware.latency.table import read_measurements
from wdmoe_env.hardware.record import record as recorder
from wdmoe_env.hardware.record.record import MeasurementPlan, parse_tokens, record
from wdmoe_env.hardware.record.sensors import Reading, parse_tegrastats, read_sysfs

COUNTS = (1, 4, 16)


def plan(**changes):
    values = {
        "board": "cpu", "power_mode": "default", "hidden": 32, "intermediate": 64, "tokens": COUNTS,
        "precision": "fp32", "device": "cpu", "trials": 30, "threads": 1,
    }  # fmt: skip
    return MeasurementPlan(**(values | changes))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    pytest.importorskip("torch", reason="record needs torch")
    path = tmp_path_factory.mktemp("recorded") / "cpu.csv"
    assert record(plan(), path) == 90
    return path


def test_recording_holds_every_run_in_order(recorded):
    rows = read_measurements(recorded)
    assert [row.tokens for row in rows] == list(COUNTS) * 30
    assert [row.trial for row in rows] == [trial for trial in range(30) for _ in COUNTS]
    assert {(row.operation, row.hidden, row.intermediate, row.timer) for row in rows} == {
        ("swiglu_expert", 32, 64, "host")
    }
    assert np.all(np.diff([row.time_s for row in rows]) >= 0)


@pytest.mark.parametrize("tokens", COUNTS)
def test_replay_draws_what_was_recorded(recorded, tokens):
    rows = read_measurements(recorded)
    drawn = latency_distribution(rows, 32, 64, 32, 32).sample(
        np.full(3000, tokens), np.random.default_rng(0).random(3000)
    )
    measured = [row.latency_s for row in rows if row.tokens == tokens]
    assert stats.ks_2samp(drawn, measured).pvalue > 0.01


def test_sequence_plays_the_recording(recorded):
    rows = read_measurements(recorded)
    replayed = latency_sequence(rows, 32, 64, 32, 32).seconds([row.tokens for row in rows], np.arange(90), 0)
    np.testing.assert_array_equal(replayed, [row.latency_s for row in rows])


def test_command_line_from_record_to_check(tmp_path, capsys):
    pytest.importorskip("torch", reason="record needs torch")
    path, kept = tmp_path / "cpu.csv", tmp_path / "kept.csv"
    size = ["--hidden", "32", "--intermediate", "64", "--tokens", "1,8", "--trials", "3", "--precision", "fp32"]
    main(
        ["record", *size, "--device", "cpu", "--board", "b", "--power-mode", "m", "--threads", "1", "--out", str(path)]
    )
    assert "6/6 runs" in capsys.readouterr().err
    main(["check", str(path), "--drop", "warm-up,duplicates,outliers", "--out", str(kept)])
    assert "6 valid rows" in capsys.readouterr().out
    assert 1 <= len(read_measurements(kept)) <= 6


def test_ctrl_c_keeps_complete_rows(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="record needs torch")
    original, calls = recorder._host_clock, []

    def clock(expert, x):
        calls.append(1)
        if len(calls) == len(COUNTS) * plan().warm_up + 5:
            raise KeyboardInterrupt
        return original(expert, x)

    monkeypatch.setattr(recorder, "_host_clock", clock)
    said: list[str] = []
    assert record(plan(), tmp_path / "t.csv", said.append) == 4
    assert said[-1] == "stopped after 4 runs, which are kept"
    assert len(read_measurements(tmp_path / "t.csv")) == 4


def test_recording_is_never_overwritten(recorded):
    before = recorded.read_bytes()
    with pytest.raises(ValueError, match="exists already"):
        record(plan(), recorded)
    assert recorded.read_bytes() == before


def test_expert_is_a_swiglu():
    torch = pytest.importorskip("torch", reason="record needs torch")
    expert, inputs = recorder._expert(torch, plan())
    assert expert(inputs[4]).shape == (4, 32)
    assert not torch.allclose(expert(2 * inputs[4]), 2 * expert(inputs[4]))  # the gate is not linear
    assert float(expert(0 * inputs[4]).abs().max()) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": ()}, r"tokens is \(\), expected one or more, each a whole number of at least 1"),
        ({"tokens": (0,)}, r"tokens is \(0,\), expected one or more"),
        ({"hidden": 0}, "hidden is 0, expected a whole number of at least 1"),
        ({"trials": 0}, "trials is 0"),
        ({"precision": "int4"}, "precision is 'int4', expected one of fp16, bf16, fp32"),
        ({"board": ""}, "board is '', expected a text that is not empty"),
        ({"threads": 0}, "threads is 0, expected a whole number of at least 1 or nothing"),
    ],
)
def test_wrong_plan_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        plan(**changes)


def test_device_that_is_not_there_is_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="record needs torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ValueError, match="sees no CUDA device"):
        record(plan(device="cuda"), tmp_path / "t.csv")
    with pytest.raises(ValueError, match="expected cuda or cpu"):
        record(plan(device="tpu"), tmp_path / "t.csv")


def test_missing_torch_is_named(tmp_path, monkeypatch):
    original = builtins.__import__

    def without_torch(name, *rest, **options):
        if name == "torch":
            raise ImportError(name)
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(ImportError, match="pip install torch"):
        record(plan(), tmp_path / "t.csv")


def test_tokens_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="tokens='1,x'"):
        parse_tokens("1,x")


@pytest.mark.parametrize(
    ("line", "reading"),
    [
        ("CPU@50C GPU@48.5C VDD_IN 5040mW/4990mW", Reading(48.5, 5.04)),
        ("cpu@50.1C soc2@47.2C tj@51C VDD_CPU 400mW/400mW", Reading(47.2, None)),
        ("PMIC@100C AO@38.5C POM_5V_IN 3052/3052", Reading(100.0, 3.052)),
        ("GPU@-256C CPU@44C", Reading(44.0, None)),  # a GPU that sleeps
        ("", Reading()),
        ("nonsense @C VDD_IN mW/", Reading()),
    ],
)
def test_tegrastats_is_read_defensively(line, reading):
    assert parse_tegrastats(line) == reading


def test_sysfs_is_read_defensively(tmp_path):
    zones = {"cpu-thermal": "51000", "gpu-thermal": "48500", "broken": "x"}
    for number, (name, value) in enumerate(zones.items()):
        zone = tmp_path / "class" / "thermal" / f"thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(name)
        (zone / "temp").write_text(value)
    assert read_sysfs(tmp_path) == Reading(48.5)
    assert read_sysfs(tmp_path / "none") == Reading()
