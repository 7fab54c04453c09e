from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import baselines
import evaluate
from evaluation.report import outputs
from wdmoe_env import Policy, Scenario

ROOT = Path(evaluate.__file__).parent


def arguments(scenario: Path, out: Path, *more: str) -> list[str]:
    return ["--scenario", str(scenario), "--policies", "top-k,random", "--episodes", "3", "--out", str(out), *more]


@pytest.mark.slow
def test_json_is_all_that_standard_output_gets(tiny_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "evaluate.py", *arguments(tiny_file, tmp_path / "out", "--json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert list(made["scenarios"]["tiny"]["policies"]) == ["top-k", "random"]
    assert made == json.loads((tmp_path / "out" / outputs.SUMMARY).read_text())
    assert "report.html" in done.stderr
    assert "torch" not in done.stderr
    assert "intervals from 3 episodes are too narrow" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_nothing_is_lost_where_the_table_cannot_be_printed(tiny_file: Path, tmp_path: Path, encoding: str) -> None:
    command = [sys.executable, "evaluate.py", *arguments(tiny_file, tmp_path / "out")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"decision (?s)" in done.stdout
    assert (tmp_path / "out" / outputs.SUMMARY).exists()


@pytest.mark.slow
def test_scripts_find_their_packages_where_python_does_not_look(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for script, words in (("train.py", "--num-envs"), ("evaluate.py", "--bound-steps")):
        command = [sys.executable, str(ROOT / script), "--help"]
        done = subprocess.run(
            command, cwd=tmp_path, env={**environment, "PYTHONSAFEPATH": "1"}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert words in done.stdout


def test_dollars_commas_and_brackets_in_names_are_only_names(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cell = tmp_path / "cell,[1].yaml"
    cell.write_text(tiny_file.read_text())
    own = ["--scenario", cell.name, "--policies", "cost $5{$=top-k,a$_{=random", "--out", "out[1],b"]
    assert evaluate.main([*own, "--episodes", "3"]) == 0
    made = json.loads((tmp_path / "out[1],b" / outputs.SUMMARY).read_text())
    assert list(made["scenarios"]["tiny"]["policies"]) == ["cost $5{$", "a$_{"]


OWN = """
import numpy as np
import baselines
from baselines.top_k import TopK
from wdmoe_env.system import channel

channel.register("flat-80", lambda distance_m, carrier_ghz, sight: np.full_like(distance_m, 80.0))

@baselines.register
class Mine(TopK):
    name = "mine"
"""


@pytest.mark.slow
def test_plugins_bring_policies_and_path_losses_of_ones_own(tiny: Scenario, tmp_path: Path) -> None:
    (tmp_path / "own_cell.py").write_text(OWN)
    data = {**tiny.model_dump(mode="json"), "name": "flat"}
    data["channel"]["path_loss"] = "flat-80"
    (tmp_path / "flat.yaml").write_text(yaml.safe_dump(data))
    command = [sys.executable, str(ROOT / "evaluate.py"), *arguments(Path("flat.yaml"), Path("out"), "--json")]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run("--plugins", "own_cell", "--policies", "top-k,mine,other=own_cell:Mine")
    assert done.returncode == 0, done.stderr
    policies = json.loads(done.stdout)["scenarios"]["flat"]["policies"]
    assert list(policies) == ["top-k", "mine", "other"]
    assert policies["mine"]["latency_ms"] == policies["top-k"]["latency_ms"]
    assert "channel.path_loss: Value error, path loss is 'flat-80', expected one of free-space" in run().stderr
    assert "--plugins: module 'own_call' cannot be imported" in run("--plugins", "own_call").stderr


@pytest.mark.slow
def test_table_and_report_are_named(tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(arguments(tiny_file, tmp_path)) == 0
    out = capsys.readouterr().out
    assert "vs top-k" in out
    assert "of bound: reward as a share of the proven most, mean over 6 sampled steps" in out
    assert "token WLR: as in an independent re-implementation" in out
    assert f"report: {tmp_path / outputs.REPORT}" in out
    assert {outputs.SUMMARY, outputs.EPISODES, outputs.REPORT} <= {path.name for path in tmp_path.iterdir()}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reward", "why"),
    [
        ({"metric": "wlr_token"}, "no bound is known for reward.metric 'wlr_token'"),
        ({"scale": "log"}, "a share of the bound says nothing with reward.scale 'log'"),
    ],
)
def test_a_reward_without_a_bound_is_said_so(
    tiny: Scenario, tmp_path: Path, capsys: pytest.CaptureFixture[str], reward: dict[str, str], why: str
) -> None:
    file = tmp_path / "other.yaml"
    changed = {**tiny.model_dump(mode="json"), "name": "other"}
    changed["reward"].update(reward)
    file.write_text(yaml.safe_dump(changed))
    assert evaluate.main(arguments(file, tmp_path / "out")) == 0
    out = capsys.readouterr().out
    assert f"other: {why}, so nothing is compared with one" in out
    assert "of bound" not in out
    assert evaluate.main(arguments(file, tmp_path / "off", "--bound-steps", "0")) == 0
    assert "nothing is compared with one" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_set_of_runs_gets_a_table_of_its_own_and_a_warning_where_it_is_small(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def load(run_dir: Path, transfer: bool = False) -> Policy:
        asked.append((run_dir.name, transfer))
        return baselines.make("top-k+bandwidth")

    monkeypatch.setitem(sys.modules, "agents", SimpleNamespace(load=load))
    for seed in ("seed-0", "seed-1"):
        (tmp_path / "mine" / seed).mkdir(parents=True)
    more = ["--policies", f"top-k,{tmp_path / 'mine'}", "--transfer"]
    assert evaluate.main([*arguments(tiny_file, tmp_path / "out"), *more]) == 0
    assert asked == [("seed-0", True), ("seed-1", True)]
    out = capsys.readouterr().out
    assert "trained policies against others" in out
    assert "IQM of mine over 2 runs and all episodes: reward" in out
    assert "warning: intervals from 2 training runs of mine are too narrow; use at least 5" in out
    found = json.loads((tmp_path / "out" / outputs.SUMMARY).read_text())
    assert found["meta"]["policies"]["mine"]["trained"] is True
    assert found["meta"]["policies"]["top-k"]["trained"] is False


@pytest.mark.slow
def test_same_seed_same_results(tiny_file: Path, tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        assert evaluate.main(arguments(tiny_file, tmp_path / name, "--seed", "7")) == 0
        policies = json.loads((tmp_path / name / outputs.SUMMARY).read_text())["scenarios"]["tiny"]["policies"]
        for metrics in policies.values():
            del metrics["decision_us"]
        found.append(policies)
    assert found[0] == found[1]


@pytest.mark.slow
def test_results_are_not_replaced_unless_told_to(
    tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(arguments(tiny_file, tmp_path)) == 0
    assert evaluate.main(arguments(tiny_file, tmp_path)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert evaluate.main(arguments(tiny_file, tmp_path, "--overwrite")) == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--policies", "nope"], "'nope'"),
        (["--policies", "some/run"], "no trained run at 'some/run'"),
        (["--policies", ","], "no policies given"),
        (["--policies", "top-k,top-k"], "more than one policy is called 'top-k'"),
        (["--scenario", "nope"], "unknown scenario 'nope': expected one of"),
        (["--scenario", ""], "--scenario is empty"),
        (["--scenario", "paper,paper"], "more than one scenario is called 'paper'"),
        (["--episodes", "0"], "episodes is 0, expected a whole number of at least 1"),
        (["--bound-steps", "-1"], "bound_steps is -1, expected a whole number of at least 0"),
        (["--seed", "-1"], "seed is -1, expected a whole number of at least 0"),
        (["--out", "/dev/null/results"], "cannot write to --out /dev/null/results"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: list[str], message: str
) -> None:
    assert evaluate.main([*arguments(tiny_file, tmp_path / "out"), *changed]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (tmp_path / "out").exists()


def test_ctrl_c_ends_with_a_clear_line(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "compare", interrupt)
    assert evaluate.main(arguments(tiny_file, tmp_path)) == 130
    assert "interrupted" in capsys.readouterr().err


class Tracker:
    def __init__(self) -> None:
        self.calls: dict[str, Any] = {}

    def start_run(self, mode: str, warn: Any, **options: Any) -> Tracker:
        self.calls["start"] = {"mode": mode, **options}
        return self

    def log(self, values: Any, step: int) -> None:
        self.calls["log"] = values

    def table(self, name: str, columns: Any, rows: Any) -> None:
        self.calls["table"] = rows

    def images(self, pictures: Any) -> None:
        self.calls["images"] = pictures

    def artifact(self, path: Path, name: str, kind: str) -> None:
        self.calls.setdefault("artifacts", []).append(path.name)

    def finish(self) -> str:
        return "wandb sync somewhere"


@pytest.mark.slow
def test_wandb_gets_metrics_table_plots_and_files(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker()
    monkeypatch.setitem(sys.modules, "agents.files", SimpleNamespace(tracking=tracker))
    assert evaluate.main(arguments(tiny_file, tmp_path, "--wandb", "offline")) == 0
    assert tracker.calls["start"]["mode"] == "offline"
    assert tracker.calls["start"]["config"]["configuration"]["tiny"]["name"] == "tiny"
    assert tracker.calls["log"]["eval/tiny/top-k/latency_vs_top_k"] == 1.0
    assert len(tracker.calls["table"]) == 2
    assert {path.suffix for path in tracker.calls["images"].values()} == {".png"}
    assert tracker.calls["artifacts"] == [outputs.SUMMARY, outputs.EPISODES, outputs.REPORT]
    assert "wandb sync somewhere" in capsys.readouterr().out
