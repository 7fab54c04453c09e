from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from support.replayed import replaying
from support.replayed import table as table_of_boards
from support.toy import preset, random_decision, toy

import agents
import train
from agents.export import command
from agents.export.features import RawFeatures
from agents.export.raw import RawObservation, input_feed
from agents.policies.trained import _network, save_policy
from wdmoe_env import Observation, Scenario, Simulator, load_scenario
from wdmoe_env.envs.codecs import PriceAction, observation_codec
from wdmoe_env.envs.features import FEATURES, device_features
from wdmoe_env.scenario import scenario_from

MakeRun = Callable[..., Path]
SCENARIOS: dict[str, Callable[[], Scenario]] = {
    **{name: partial(preset, name) for name in ("paper", "jetson", "mobile", "cell-64")},
    "toy": lambda: toy(experts=7, top_k=3),
    "toy that uses all experts": lambda: toy(2, experts=2, top_k=2),
}


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Leave a policy of random weights, as `train.py` does."""

    def make(algorithm: Any, scenario: Scenario) -> Path:
        torch.manual_seed(0)  # of the network's first weights, too
        network = _network(algorithm, 8, scenario)
        with torch.no_grad():
            for weights in network.parameters():
                weights.add_(0.2 * torch.randn(weights.shape))
        save_policy(tmp_path / "run/best", algorithm, network, 8, scenario)
        return tmp_path / "run"

    return make


def tied(observation: Observation) -> Observation:
    """The same with gate weights of which many are equal, and in the first cell two experts that take all tokens."""
    weights = np.round(8.0 * observation.gate_weights) / np.float32(8.0)
    weights[0] = 0.0
    weights[0, :, :2] = 0.5
    return replace(observation, gate_weights=weights, routed=None, plain=None)


def after_a_step(scenario: Scenario, num_envs: int) -> Observation:
    simulator = Simulator(scenario, num_envs, "test")
    simulator.reset(1)
    return simulator.step(random_decision(scenario, num_envs, np.random.default_rng(0))).observation


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_features_are_those_of_the_environment(name: str) -> None:
    scenario = SCENARIOS[name]()
    seen = after_a_step(scenario, 3)
    dark = replace(seen, gain_ul=0.0 * seen.gain_ul, last_device_time=0.0 * seen.last_device_time)
    for observation in (seen, tied(seen), dark):
        raw = RawObservation(**{name: torch.tensor(value) for name, value in input_feed(observation).items()})
        with torch.no_grad():
            table = RawFeatures(scenario)(raw).numpy()
        expected = device_features(observation, scenario)
        assert table.dtype == expected.dtype
        for index, column in enumerate(FEATURES):
            np.testing.assert_allclose(table[:, :, index], expected[:, :, index], atol=1e-6, err_msg=column)


def test_inputs_are_the_fields_of_an_observation(tiny: Scenario) -> None:
    assert set(RawObservation._fields) == set(Observation.__slots__) - {"routed", "plain", "compute"}
    types = {name: array.dtype.name for name, array in input_feed(Simulator(tiny).reset(0)).items()}
    assert types == {**dict.fromkeys(types, "float64"), "gate_weights": "float32", "layer": "int64"}


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "bandwidth"), [("ppo", "optimal"), ("sac", "learned"), ("ppo", "residual")])
def test_file_decides_as_the_policy_does(
    algorithm: str, bandwidth: Any, make_run: MakeRun, tiny: Scenario, recwarn: Any, capfd: Any
) -> None:
    scenario = load_scenario(tiny, bandwidth=bandwidth)
    run = make_run(algorithm, scenario)
    assert train.command_line(["export", str(run)]) == 0
    printed = capfd.readouterr()
    assert printed.out.startswith(f"{run / 'policy.onnx'}: ")
    assert "  price: " in printed.out
    assert printed.err == ""
    assert recwarn.list == []

    session = onnxruntime.InferenceSession(run / "policy.onnx")
    assert [value.name for value in session.get_inputs()] == list(RawObservation._fields)
    names = [value.name for value in session.get_outputs()]
    assert names == (["price"] if bandwidth == "optimal" else ["price", "logit"])
    policy, actions = agents.load(run, transfer=True), PriceAction(scenario)
    for num_envs, tokens in ((1, 8), (7, 8), (7, 12)):
        other = load_scenario(scenario, traffic={"tokens": tokens})
        policy.reset(other, num_envs)
        for observation in (seen := after_a_step(other, num_envs), tied(seen)):
            encoded = observation_codec("device", other).encode(observation)
            expected = actions.meaning(policy.act(encoded))
            found = session.run(names, input_feed(observation))
            assert np.ptp(found[0]) > 1e-3
            for one, value in zip(found, expected, strict=False):
                np.testing.assert_allclose(one, value, atol=1e-5)
            decision = PriceAction(other).decide(found[0], found[-1], observation)
            np.testing.assert_allclose(decision.bandwidth, policy.decide(observation).bandwidth, rtol=1e-3)


@pytest.mark.slow
def test_metadata(make_run: MakeRun, tiny: Scenario) -> None:
    scenario = load_scenario(tiny, bandwidth="residual")
    run = make_run("ppo", scenario)
    command.export(run, run / "x.onnx")
    metadata = onnxruntime.InferenceSession(run / "x.onnx").get_modelmeta().custom_metadata_map
    assert scenario_from(json.loads(metadata["scenario"])) == scenario
    assert json.loads(metadata["hosts"]) == list(range(8))
    assert {"wdmoe-env", "torch", "onnx"} <= json.loads(metadata["versions"]).keys()
    assert json.loads(metadata["inputs"]).keys() == set(RawObservation._fields)
    assert json.loads(metadata["outputs"]).keys() == {"price", "logit"}
    assert metadata["policy"] == "run"
    assert "in proportion to exp(logit) times the exact split" in metadata["decision"]
    assert str(run).encode() not in (run / "x.onnx").read_bytes()


@pytest.mark.slow
def test_file_that_exists_is_kept(make_run: MakeRun, tiny: Scenario, tmp_path: Path, capsys: Any) -> None:
    run, out = make_run("ppo", tiny), tmp_path / "policy.onnx"
    out.write_text("mine")
    assert train.command_line(["export", str(run), "--out", str(out)]) == 2
    assert f"{out} exists: choose another file, or replace it with --overwrite" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert train.command_line(["export", str(run), "--format", "onnx", "--out", str(out), "--overwrite"]) == 0
    onnxruntime.InferenceSession(out)


@pytest.mark.slow
def test_nowhere_to_write(make_run: MakeRun, tiny: Scenario, tmp_path: Path, capsys: Any) -> None:
    assert command.main(command.Options(make_run("ppo", tiny), out=tmp_path / "no/x.onnx")) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'no/x.onnx'} cannot be written: No such file or directory\n"


@pytest.mark.slow
def test_a_file_that_differs_is_not_written(
    make_run: MakeRun, tiny: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run, real = make_run("ppo", tiny), PriceAction.meaning
    # Only tensors, so that the file differs from the original.
    monkeypatch.setattr(
        PriceAction,
        "meaning",
        lambda self, action: (real(self, action)[0] + 2e-5 * isinstance(action, torch.Tensor), action[:, 8:]),
    )
    assert command.main(command.Options(run)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the exported price differs from the original by 2.0")
    assert said.endswith("expected at most 1e-05\n")
    assert not (run / "policy.onnx").exists()


def test_no_run(tmp_path: Path, capsys: Any) -> None:
    assert command.main(command.Options(tmp_path / "nothing")) == 2
    assert "nothing is not a folder, expected the run directory of train.py" in capsys.readouterr().err
    assert command.main(command.Options(tmp_path)) == 2
    assert "best/policy.json cannot be read: No such file" in capsys.readouterr().err


def test_table_of_devices_is_gone(make_run: MakeRun, tmp_path: Path, capsys: Any) -> None:
    table = table_of_boards(tmp_path)
    run = make_run("ppo", replaying(table))
    Path(table).unlink()
    assert command.main(command.Options(run)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {run / 'best/policy.json'}: no file ")
    assert str(table) in said
    assert said.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "array_api_compat"])
def test_without_the_extra(
    package: str, make_run: MakeRun, tiny: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for module in ("agents.export.graph", "agents.export.features", "array_api_compat.torch"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    run = make_run("ppo", tiny)
    assert command.main(command.Options(run)) == 2
    expected = f"error: export needs {package}: pip install -e '.[train,export]'\n"
    assert capsys.readouterr().err == expected
    assert not (run / "policy.onnx").exists()


def test_help_names_it(capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        train.command_line(["--help"])
    assert ended.value.code == 0
    assert "train.py export RUN_DIR" in capsys.readouterr().out
