"""Chunks side by side bring what they bring one by one; faults are told as they are in one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agents
import evaluate
from evaluation.comparison import compare
from evaluation.episodes.contenders import Contender
from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.plan import Plan
from evaluation.report import outputs
from wdmoe_env import Decision, Observation, Scenario, load_scenario
from wdmoe_env.interface import plain_routing
from wdmoe_env.workers.processes import LocalPool

ROOT = Path(evaluate.__file__).parent


class Greedy:
    """Asks for more than the band, from the second step on."""

    name = "greedy"

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        self.scenario, self.factor = scenario, 1.0

    def decide(self, observation: Observation) -> Decision:
        shape = len(observation.gate_weights), self.scenario.num_devices
        band = np.full(shape, self.factor * self.scenario.radio.bandwidth_hz / shape[1])
        self.factor = 2.0
        return Decision(plain_routing(observation, self.scenario.model.top_k), band)


def without_times(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary but for what is measured, and the words that asked for it."""
    for policies in (scenario["policies"] for scenario in summary["scenarios"].values()):
        for metrics in policies.values():
            del metrics["decision_us"]
    del summary["meta"]["command"]
    return summary


@pytest.mark.slow
def test_two_jobs_write_the_same_files_as_one(tiny_file: Path, tmp_path: Path) -> None:
    asked = [
        "--scenario",
        str(tiny_file),
        "--policies",
        "random,top-k+bandwidth",
        "--episodes",
        "66",
        "--bound-steps",
        "6",
    ]
    for jobs in ("1", "2"):
        assert evaluate.main([*asked, "--jobs", jobs, "--out", str(tmp_path / jobs)]) == 0
    one, two = (tmp_path / jobs / outputs.EPISODES for jobs in ("1", "2"))
    assert one.read_bytes() == two.read_bytes()
    summaries = [json.loads((tmp_path / jobs / outputs.SUMMARY).read_text()) for jobs in ("1", "2")]
    assert without_times(summaries[0]) == without_times(summaries[1])


@pytest.mark.slow
def test_trained_policies_travel_by_content(tiny: Scenario) -> None:
    policy = agents.pretrained("ppo", transfer=True)
    policy.reset(load_scenario("paper"), 1)
    contenders, plan = [Contender("ppo", "ppo", (policy, policy))], Plan(66, decisions=1, bound_steps=0)
    alone = compare(tiny, contenders, plan)
    with LocalPool(2) as pool:
        apart = compare(tiny, contenders, plan, pool=pool)
    for one, other in zip(alone.results[0].runs, apart.results[0].runs, strict=True):
        assert all((one.steps[name] == other.steps[name]).all() for name in one.steps)


@pytest.mark.slow
def test_a_bad_decision_is_told_as_in_one_process(tiny: Scenario) -> None:
    plan, ticks = Plan(3, decisions=1, bound_steps=0), list[str]()
    with LocalPool(1) as pool, pytest.raises(EvaluationError, match="policy 'greedy' in scenario 'tiny', step 1"):
        compare(tiny, [Contender("greedy", "own", (Greedy(),))], plan, ticks.append, pool=pool)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--jobs", "0"], "--jobs is 0, expected at least 1"),
        (["--jobs", "2", "--model", "nowhere"], "--jobs 2 is for simulated episodes"),
    ],
)
def test_what_cannot_be_done_side_by_side_is_refused(
    tiny_file: Path, tmp_path: Path, words: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--scenario", str(tiny_file), "--policies", "top-k", "--out", str(tmp_path / "out")]
    assert evaluate.main([*asked, *words]) == 2
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process_and_no_file(tiny_file: Path, tmp_path: Path, number: signal.Signals) -> None:
    asked = ["--scenario", str(tiny_file), "--policies", "price", "--episodes", "20000", "--jobs", "2"]
    command = [sys.executable, str(ROOT / "evaluate.py"), *asked]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True) as started:
        until = time.monotonic() + 60
        while len(members(started.pid)) < 4 and time.monotonic() < until:  # itself, two, and what tracks resources
            time.sleep(0.1)
        os.kill(started.pid, number)
        assert started.wait(30) == 128 + number
    time.sleep(1.0)
    assert members(started.pid) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def members(group: int) -> list[int]:
    """Processes of a session that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found
