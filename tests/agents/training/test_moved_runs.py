"""A run and the files that its scenario names, moved, renamed and changed: files are known by what they hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.run_files import table, text

import agents
from agents.export import command
from agents.plan.plan import Plan
from agents.training import one_run, seeds
from agents.tune import study
from wdmoe_env.files.safe import StorageError
from wdmoe_env.scenario import Scenario, load_scenario

Make = Callable[..., Plan]
Fake = Callable[[str], None]
LOG = "seconds,snr_db\n0,20\n1,21.5\n2,17\n3,24\n4,19\n"


def logged(folder: Path, plan: Plan, name: str = "log.csv") -> Plan:
    """The plan, in a cell that replays a log."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(LOG)
    return replace(plan, scenario=in_cell(plan.scenario, folder / name))


def in_cell(scenario: Scenario, log: Path) -> Scenario:
    trace = {"files": [str(log)]}
    channel = {"shadowing": {"std_db": 0.0}, "fading": {"kind": "none"}, "trace": trace}
    return load_scenario(scenario, channel=channel)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["log.csv", "run/log.csv", "elsewhere"])
def test_a_run_moves_with_its_files(
    make_plan: Make, tmp_path: Path, console: Console, stop_after: Callable[[int], None], place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plan = logged(tmp_path / "A", make_plan())
    assert one_run.start(plan, tmp_path / "whole", console) == 0
    stop_after(2)
    assert one_run.start(plan, tmp_path / "A/run", console) == 130
    monkeypatch.undo()
    (tmp_path / "A").rename(tmp_path / "B")
    moved = tmp_path / "B" / place if place != "elsewhere" else tmp_path / "C.csv"
    (tmp_path / "B/log.csv").rename(moved)
    run, here = tmp_path / "B/run", in_cell(plan.scenario, moved)
    if place == "elsewhere":
        with pytest.raises(StorageError, match=r"config.json: no file '.*/A/log.csv' any more: tried .*beside the run"):
            one_run.resume(run, console)
        return
    assert one_run.resume(run, console, here) == 0
    for name in ("evaluations.csv", "metrics.csv"):
        assert timeless(run / name) == timeless(tmp_path / "whole" / name)
    policy = agents.load(run)
    policy.reset(here, 2)
    command.export(run, tmp_path / "policy.onnx")


def timeless(file: Path) -> list[dict[str, str]]:
    """Rows of a table, without the speed of the machine."""
    return [{name: cell for name, cell in row.items() if not name.startswith("time/")} for row in table(file)]


@pytest.mark.slow
def test_a_file_that_changed_is_another(make_plan: Make, tmp_path: Path, console: Console) -> None:
    plan = logged(tmp_path / "A", make_plan())
    assert one_run.start(plan, tmp_path / "A/run", console) == 0
    other = in_cell(plan.scenario, tmp_path / "A/log.csv")
    policy = agents.load(tmp_path / "A/run")
    policy.reset(other, 1)
    (tmp_path / "A/log.csv").write_text(LOG.replace("17", "18"))
    with pytest.raises(StorageError, match=r"A/log.csv holds something else than .*A/log.csv did"):
        one_run.resume(tmp_path / "A/run", console)
    with pytest.raises(ValueError, match=r"channel.trace.files\[0\] was '.*log.csv' \(sha256 \w+\), and is .*sha256"):
        policy.reset(other, 1)
    # The same content under another name is the same.
    (tmp_path / "copy.csv").write_text(LOG)
    policy.reset(in_cell(plan.scenario, tmp_path / "copy.csv"), 1)


@pytest.mark.slow
def test_a_set_of_seeds_moves_with_its_files(make_plan: Make, tmp_path: Path, console: Console, fake: Fake) -> None:
    fake("")
    plan = logged(tmp_path / "A", make_plan())
    seeds.start(plan, [0, 1], tmp_path / "A/set", console)
    (tmp_path / "A/set/seed-1/config.json").unlink()
    (tmp_path / "A").rename(tmp_path / "B")
    seeds.resume(tmp_path / "B/set", console)
    assert "training 2 of 2 seeds" in text(console)
    made = json.loads((tmp_path / "B/set/seed-1/config.json").read_text())
    assert list(made["files"]) == made["scenario"]["channel"]["trace"]["files"] == [str(tmp_path / "B/log.csv")]
    assert made["files"][str(tmp_path / "B/log.csv")]["relative"] == "../../log.csv"


def test_a_study_moves_with_its_files(make_plan: Make, tmp_path: Path) -> None:
    plan = logged(tmp_path / "A", make_plan())
    study.open_study(tmp_path / "A/study.log", plan)
    (tmp_path / "A").rename(tmp_path / "B")
    here = replace(plan, scenario=in_cell(plan.scenario, tmp_path / "B/log.csv"))
    study.open_study(tmp_path / "B/study.log", here)
