"""Recording on the CPU, small: the schema is written, and check, fit and replay take it from there."""

import builtins
import time

import numpy as np
import pytest
from scipy import stats

from wdmoe_env.hardware.__main__ import main
from wdmoe_env.hardware.latency.replay import latency_distribution, latency_sequence
from wdmoe_env.hardware.latency.table import read_measurements
from wdmoe_env.hardware.record import record as recorder
from wdmoe_env.hardware.record import sensors
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


@pytest.mark.parametrize(
    ("rails", "watts"),
    [
        ("VDD_IN 5040mW/4990mW VDD_CPU_GPU_CV 700mW/700mW VDD_SOC 1500mW/1500mW", 5.04),  # Orin NX and Nano
        ("VDD_GPU_SOC 9560mW/9000mW VDD_CPU_CV 2390mW/2390mW VIN_SYS_5V0 4800mW/4700mW", 16.75),  # AGX Orin
        ("VDD_GPU_SOC 5100mW/5200mW/9000mW VDD_CPU_CV 3200mW/3200mW/3300mW VIN_SYS_5V0 5500mW/5500mW/5500mW", 13.8),
        ("VDDQ_VDD2_1V8AO 400mW/400mW VIN_SYS_5V0 4800mW/4700mW VDD_CPU_CV 2000mW/1mW VDD_GPU_SOC 1000mW/1mW", 7.8),
        ("VDD_GPU 3000mW/3000mW VDD_CPU_SOC_MSS 9000mW/9000mW VIN_SYS_5V0 6000mW/6000mW", 18.0),  # AGX Thor
        ("GPU 312/312 CPU 1248/1248 SOC 2496/2496 CV 0/0 VDDRQ 624/624 SYS5V 3360/3360", 8.04),  # AGX Xavier
        ("VDD_IN 3900/3900 VDD_CPU_GPU_CV 600/600 VDD_SOC 1100/1100", 3.9),  # Xavier NX
        ("POM_5V_IN 2510/2510 POM_5V_GPU 0/0 POM_5V_CPU 400/400", 2.51),  # Nano
        # A part of the rails is no power of the whole.
        ("VDD_GPU_SOC 9560mW/9000mW VIN_SYS_5V0 4800mW/4700mW", None),
        ("GPU 312/312 CPU 1248/1248 SOC 2496/2496", None),
        ("VDD_CPU_GPU_CV 700mW/700mW VDD_SOC 1500mW/1500mW", None),
    ],
)
def test_power_is_that_of_the_whole_module_or_not_told(rails, watts):
    line = f"RAM 9000/30588MB (lfb 4x4MB) SWAP 0/15294MB CPU [10%@2201,off] EMC_FREQ 0%@3199 GPU@48.2C {rails}"
    assert parse_tegrastats(line) == Reading(48.2, watts)


TEGRASTATS = "#!/bin/sh\n{}echo 'GPU@40C VDD_IN 5000mW/5000mW'; {}\n"


def installed(tmp_path, monkeypatch, before, after):
    program = tmp_path / "tegrastats"
    program.write_text(TEGRASTATS.format(before, after))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


def test_what_tegrastats_said_before_it_ended_tells_nothing_later(tmp_path, monkeypatch):
    installed(tmp_path, monkeypatch, "", "sleep 0.3; exit 0")
    with sensors.open_sensors() as source:
        until = time.monotonic() + 10
        seen: list[Reading] = []
        while not seen or seen[-1] != Reading():
            assert time.monotonic() < until
            if (reading := source.read()) != Reading() or seen:
                seen.append(reading)
        assert seen[0] == Reading(40.0, 5.0)


def test_a_tegrastats_that_hangs_tells_nothing_of_now(tmp_path, monkeypatch):
    monkeypatch.setattr(sensors, "MAX_AGE_S", 0.3)
    installed(tmp_path, monkeypatch, "", "sleep 60")
    with sensors.open_sensors() as source:
        until = time.monotonic() + 10
        while source.read() == Reading():
            assert time.monotonic() < until
        time.sleep(0.4)
        assert source.read() == Reading()


def test_a_tegrastats_that_does_not_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(sensors, "END_S", 0.2)
    installed(tmp_path, monkeypatch, "trap '' TERM; ", "while :; do sleep 0.05; done")
    with sensors.open_sensors() as source:
        until = time.monotonic() + 10
        while source.read() == Reading():
            assert time.monotonic() < until


def test_sysfs_is_read_defensively(tmp_path):
    zones = {"cpu-thermal": "51000", "gpu-thermal": "48500", "broken": "x"}
    for number, (name, value) in enumerate(zones.items()):
        zone = tmp_path / "class" / "thermal" / f"thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(name)
        (zone / "temp").write_text(value)
    assert read_sysfs(tmp_path) == Reading(48.5)
    assert read_sysfs(tmp_path / "none") == Reading()
