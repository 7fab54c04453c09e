"""The testbed as a user runs it: processes on this machine, from the command line to the records."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("msgspec")

from support.miniature import save_bytes
from support.testbed import KEY, listening

import evaluate
from wdmoe_env import Simulator, load_scenario
from wdmoe_env.hardware.latency.table import read_measurements
from wdmoe_env.hardware.radio.traces import read_radio_trace
from wdmoe_env.testbed.__main__ import main
from wdmoe_env.testbed.device import Device, Identity
from wdmoe_env.testbed.experts import Experts
from wdmoe_env.testbed.shares import ExpertFiles

SCENARIO = """
name: small
model: {name: small, layers: 3, hidden_size: 64, intermediate_size: 64, experts: 6, top_k: 3}
devices:
  - {name: board, count: 3, compute: {kind: linear, flops_per_s: 1e8}}
radio: {bandwidth_hz: 1e6, carrier_ghz: 3.5, bs_power_w: 1.0, device_power_w: 0.2}
channel: {path_loss: free-space, distance_m: {low: 20.0, high: 100.0}, fading: {kind: rayleigh}}
traffic: {tokens: 8, passes_per_episode: 2}
gating: {family: mixtral, bank_passes: 8}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Mixtral that reads bytes."""
    return save_bytes(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def results(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two policies on three processes of this machine."""
    place = tmp_path_factory.mktemp("results")
    (place / "small.yaml").write_text(SCENARIO)
    for index in range(2):
        text = "".join(map(chr, np.random.default_rng(index).integers(97, 123, 200)))
        (place / f"{index}.txt").write_text(text)
    texts = ",".join(str(place / f"{index}.txt") for index in range(2))
    words = ["--testbed", "local:3", "--scenario", str(place / "small.yaml"), "--model", str(folder), "--text", texts]
    status = evaluate.main([*words, "--policies", "top-k,price", "--episodes", "3", "--out", str(place / "out")])
    assert status == 0
    return place / "out"


@pytest.mark.slow
def test_the_summary_holds_measured_and_predicted(results: Path) -> None:
    found = json.loads((results / "summary.json").read_text())
    policies = found["scenarios"]["small"]["policies"]
    assert found["meta"]["testbed"] == {
        "testbed": "local:3",
        "links": "paced",
        "slow_down": 1.0,
        "dtype": "float16",
        "deadline_s": 10.0,
        "on_failure": "next-best",
    }
    for estimates in policies.values():
        # Nothing is faster than the links and devices that it is paced to.
        assert estimates["latency_ms"]["mean"] >= 0.99 * estimates["predicted_ms"]["mean"] > 0.0
        assert 0.0 <= estimates["prediction_error"]["mean"] <= estimates["prediction_error_p95"]["mean"]
        assert estimates["bits_per_byte"]["mean"] > 0.0
    assert policies["top-k"]["latency_vs_top_k"]["mean"] == policies["top-k"]["predicted_vs_top_k"]["mean"] == 1.0
    assert policies["price"]["predicted_vs_top_k"]["mean"] < 1.0


@pytest.mark.slow
def test_records_are_replayed(results: Path) -> None:
    import polars as pl

    layers, calls = (pl.read_parquet(results / name) for name in ("layers.parquet", "calls.parquet"))
    assert len(layers) == 2 * 3 * 2 * 3
    assert (layers["attempts"] == 1).all()
    asked = calls.group_by("policy", "episode", "step").len()["len"]
    assert set(asked.to_list()) <= {1, 2, 3}
    # A device of two experts is sent a token once.
    assert (calls["tokens"] <= 8).all()
    assert (calls["pairs"] >= calls["tokens"]).all()
    for device in range(3):
        trace = read_radio_trace(results / f"link-{device}.csv")
        assert trace.kind == "snr_db"
        assert trace.uplink is not None
    rows = read_measurements(results / "measurements.csv")
    assert {row.board for row in rows} <= {"board 1", "board 2", "board 3"}
    assert all((row.hidden, row.intermediate) == (64, 64) for row in rows)
    replayed = load_scenario(results / "replay.yaml")
    simulator = Simulator(replayed, 2)
    assert np.isfinite(simulator.reset(0).gain_dl).all()


@pytest.mark.slow
def test_the_explorer_shows_what_was_recorded(results: Path) -> None:
    from explorer.library import Library
    from explorer.view import View
    from explorer.web.app import make_app

    client = make_app(Library([results.parent]), View(), frozenset({"localhost"})).test_client()
    link = f"/folder?pane=testbed&item={results.parent.name}/out&row=4"
    answer: Any = client.get(link, base_url="http://localhost").json
    assert answer["rows"] == 36
    data = answer["figures"]["layers"]["data"]
    assert all(seconds > 0 for trace in data for seconds in trace["y"])
    assert [trace["name"] for trace in data[:2]] == ["top-k, measured", "top-k, predicted"]
    parts = answer["figures"]["of-layer"]["data"]
    assert sum(parts[0]["y"]) > 0
    shown: Any = client.get(link.replace("testbed", "results"), base_url="http://localhost").json
    assert "small: Latency of a forward pass" in [one["title"] for one in shown["headings"]]


@pytest.mark.slow
def test_compare_says_where_they_part(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(results)]) == 0
    said = capsys.readouterr().out
    for word in ("top-k", "price", "all", "board 3", "overhead", "error, p95"):
        assert word in said
    assert main(["compare", str(results / "nowhere")]) == 2
    assert "holds no layers.parquet" in capsys.readouterr().err


def test_generate_wants_a_cell_of_no_more_devices_than_experts(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "--model", str(folder), "--local", "3", "--scenario", "paper", "--policy", "price"]
    assert main([*words, "--prompt", "def ", "--tokens", "4"]) == 2
    assert "model.experts is 6, but 8 devices need at least one expert each" in capfd.readouterr().err


def test_generate_over_addresses(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files, scenario = ExpertFiles(folder), tmp_path / "small.yaml"
    scenario.write_text(SCENARIO)
    devices = [Device(Experts(files, [i, i + 3]), Identity(f"board {i}", KEY)) for i in range(3)]
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "key").chmod(0o600)
    with listening(devices) as addresses:
        names = [{"name": f"b{i}", "address": f"{host}:{port}"} for i, (host, port) in enumerate(addresses)]
        (tmp_path / "cluster.yaml").write_text(yaml.safe_dump({"devices": names, "key": "key", "dtype": "float32"}))
        words = ["generate", "--model", str(folder), "--testbed", str(tmp_path / "cluster.yaml")]
        words += ["--scenario", str(scenario), "--prompt", "def ", "--tokens", "4"]
        assert main([*words, "--policy", "price"]) == 0
        first = capfd.readouterr()
        assert main([*words, "--policy", "top-k", "--quiet"]) == 0
        plain = capfd.readouterr()
        assert main([*words, "--policy", "nobody"]) == 2
        assert "--policy: " in capfd.readouterr().err
        assert main([*words, "--slow-down", "3"]) == 2
        assert "emulates nothing" in capfd.readouterr().err
    assert first.out.startswith("def ")
    assert "price decides; cluster.yaml, links none, float32 on the wire" in first.err
    assert "layers of experts" in first.err
    assert plain.out.startswith("def ")
    assert "decides" not in plain.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("devices: []", "devices"),
        ("devices: [{name: a, address: nowhere}]", "address of a is 'nowhere'"),
        ("devices: [{name: a, address: 'h:1'}, {name: a, address: 'h:2'}]", "name 'a' stands twice"),
        ("devices: [{name: a, address: 'h:1'}]\nports: 3", "ports"),
        ("devices: [{name: a, address: 'h:1'}]\ndtype: float64", "dtype"),
        ("devices: [{name: a, address: 'h:1'}]\nkey: missing", "expected the 3 of scenario 'small'"),
    ],
)
def test_a_faulty_cluster_is_named(content: str, said: str, folder: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "cluster.yaml").write_text(content)
    (tmp_path / "small.yaml").write_text(SCENARIO)
    words = [
        "--testbed",
        str(tmp_path / "cluster.yaml"),
        "--model",
        str(folder),
        "--text",
        str(tmp_path / "small.yaml"),
    ]
    assert evaluate.main([*words, "--scenario", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--testbed", "local:8"], "give --model"),
        (["--links", "none"], "--links and --slow-down are for a testbed"),
        (["--testbed", "local:8", "--model", "nowhere"], "the folder does not exist"),
        (["--testbed", "local:8", "--model", ".", "--scenario", "paper,mobile"], "expected one for a testbed"),
        (["--testbed", "local:8", "--model", ".", "--slow-down", "0.5"], "expected 1 to 1000"),
        (["--testbed", "nowhere.yaml", "--model", "."], "expected local:N or a YAML file of devices"),
    ],
)
def test_what_does_not_fit_is_named(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(words) == 2
    assert said in capsys.readouterr().err


def test_keys_certificates_and_shares(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "--out", str(tmp_path / "key")]) == 0
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert main(["key", "--out", str(tmp_path / "key")]) == 2
    assert main(["certificates", "--out", str(tmp_path / "tls"), "--names", "127.0.0.1", "board"]) == 0
    assert {path.name for path in (tmp_path / "tls").iterdir()} == {
        "authority.pem",
        *(f"{name}.{kind}" for name in ("127.0.0.1", "board") for kind in ("pem", "key")),
    }
    assert stat.S_IMODE((tmp_path / "tls" / "board.key").stat().st_mode) == 0o600
    assert main(["split", "--model", str(folder), "--out", str(tmp_path / "shares"), "--devices", "4"]) == 0
    assert ExpertFiles(tmp_path / "shares" / "device-1").experts == (1, 5)
    assert main(["split", "--model", str(folder), "--out", str(tmp_path / "more"), "--devices", "7"]) == 2
    assert "expected 1 to 6" in capsys.readouterr().err
    assert main(["split", "--model", str(folder), "--out", str(tmp_path / "own"), "--experts", "0-1", "5"]) == 0
    assert ExpertFiles(tmp_path / "own" / "device-0").experts == (0, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "0.0.0.0:7070"], "give a --key"),
        (["--listen", "7070"], "expected HOST:PORT"),
        (["--experts", "9"], "holds no expert 9"),
        (["--threads", "0"], "--threads is 0"),
        (["--key", "nowhere"], "--key nowhere"),
    ],
)
def test_a_device_that_cannot_be_is_named(words: list[str], said: str, folder: Path, capsys) -> None:
    given = ["device", "--model", str(folder), *([] if "--experts" in words else ["--experts", "0"]), *words]
    assert main(given) == 2
    assert said in capsys.readouterr().err


def test_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "certificates" in capsys.readouterr().out
    assert main(["unknown"]) == 2
    assert "unknown command 'unknown'" in capsys.readouterr().err
