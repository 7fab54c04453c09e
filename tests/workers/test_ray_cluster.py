"""What runs on the nodes of a Ray cluster brings what it brings on one machine, whatever dies on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import tyro
from support.ray_cluster import several_nodes
from support.run_files import assert_same_run
from support.shared_fixtures import tiny, tiny_file  # noqa: F401 - fixtures
from support.talking import talk

import evaluate
import train
from agents.files.run_dir import RunDir
from agents.training import several
from agents.training.on_pool import OnPool
from agents.tune import __main__ as tune
from agents.tune import study as tuning
from evaluation.report import outputs
from wdmoe_env.workers import places
from wdmoe_env.workers.units import Line, Unit, UnitError, results

ROOT = Path(evaluate.__file__).parent
pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no module that a node could import


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with several_nodes(3) as made:
        yield made


@pytest.fixture
def joined(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv(places.ADDRESS, cluster.address)
    return cluster


def place() -> int:
    time.sleep(1.0)
    return os.getppid()


def refuse() -> None:
    raise ValueError("length is wrong")


def converse(line: Line, number: int) -> tuple[int, str | None]:
    line.tell(number)
    doubled = line.ask(number + 1)
    while line.stop() is None:
        time.sleep(0.05)
    return doubled, line.stop()


def test_units_run_on_all_nodes_and_talk(joined: Any) -> None:
    with places.opened("ray", None) as pool:
        assert pool.facts()["nodes"] == pool.size == 3
        found = results(pool, [Unit(f"unit {number}", place) for number in range(3)], ())
        assert len(set(found.values())) == 3
        with pytest.raises(UnitError, match=r"the third failed on node .*\n(.|\n)*length is wrong"):
            results(pool, [Unit("the third", refuse)], ())
        with pytest.raises(ValueError, match="length is wrong"):
            results(pool, [Unit("again", refuse)], (ValueError,))
        heard = talk(pool, Unit("talker", converse, (pool.share(20),), talks=True))
        assert heard == [("told", 20), ("asked", 21), ("done", (42, "SIGTERM"))]


def test_an_evaluation_writes_the_same_files(joined: Any, tiny_file: Path, tmp_path: Path) -> None:
    asked = ["--scenario", str(tiny_file), "--policies", "random,pretrained:ppo", "--transfer", "--episodes", "66"]
    for name, place in (("here", []), ("there", ["--on", "ray"])):
        assert evaluate.main([*asked, *place, "--bound-steps", "4", "--out", str(tmp_path / name)]) == 0
    here, there = (tmp_path / name / outputs.EPISODES for name in ("here", "there"))
    assert here.read_bytes() == there.read_bytes()
    one, other = (json.loads((tmp_path / name / outputs.SUMMARY).read_text()) for name in ("here", "there"))
    for summary in (one, other):
        del summary["meta"]["command"]
        for metrics in summary["scenarios"]["tiny"]["policies"].values():
            del metrics["decision_us"]
    assert one == other
    assert {"ray", "platform"} <= one["meta"]["versions"].keys()


STEPS = "1024"
TRAIN = ["--wandb", "disabled", "--num-envs", "4", "--evaluate-episodes", "2", "--evaluate-every", "512"]
TRAIN += ["--checkpoint-every", "64", "--set", "width", "8", "rollout", "32", "batch_size", "16"]


def trained(tiny_file: Path, path: Path, seeds: str, *more: str) -> int:
    words = ["--scenario", str(tiny_file), "--seeds", seeds, "--run-dir", str(path), *TRAIN, *more]
    return train.command_line(words)


def test_a_node_dies_and_its_run_goes_on_elsewhere(
    joined: Any, tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four seeds; carried by the driver, as nothing is shared; the same runs as side by side here."""
    monkeypatch.setattr(several, "OnPool", partial(OnPool, shared=False))
    here, there = tmp_path / "here", tmp_path / "there"

    def kill_a_node() -> None:
        first = [RunDir(there / f"seed-{seed}") for seed in range(3)]
        while not all(run.checkpoints() for run in first):
            time.sleep(0.05)
        joined.remove_node(joined.worker_nodes.copy().pop(), allow_graceful=False)

    with ThreadPoolExecutor(1) as thread:
        killed = thread.submit(kill_a_node)
        assert trained(tiny_file, there, "0-3", "--on", "ray", "--timesteps", STEPS) == 0
        killed.result(timeout=1)
    joined.add_node(num_cpus=1)
    assert trained(tiny_file, here, "0-3", "--jobs", "2", "--timesteps", STEPS) == 0
    for seed in range(4):
        assert_same_run(here / f"seed-{seed}", there / f"seed-{seed}")
    names = [{str(file.relative_to(path)) for file in path.rglob("[!.]*")} for path in (here, there)]
    assert names[0] == names[1]


def test_sigterm_stops_everywhere_and_leaves_checkpoints(joined: Any, tiny_file: Path, tmp_path: Path) -> None:
    """As a command, which joins the cluster; the runs stand here."""
    path = tmp_path / "set"
    words = ["--scenario", str(tiny_file), "--seeds", "0-1", "--run-dir", str(path), *TRAIN, "--on", "ray"]
    command = [sys.executable, str(ROOT / "train.py"), *words, "--timesteps", "1000000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as started:
        while not all(RunDir(path / f"seed-{seed}").checkpoints() for seed in (0, 1)):
            assert started.poll() is None
            time.sleep(0.1)
        assert len(trainers(joined)) == 2
        started.terminate()
        printed = started.stderr.read()
    assert started.returncode == 143, printed
    assert "SIGTERM: runs finish their update and save a checkpoint" in printed
    assert "0 of 2 seeds are finished; go on with: python train.py --resume" in printed
    assert all("stopped by SIGTERM" in (path / "logs" / f"seed-{seed}.log").read_text() for seed in (0, 1))
    assert trainers(joined) == []


def trainers(cluster: Any) -> list[str]:
    """Processes of a cluster that train."""
    session = cluster.head_node.get_session_dir_path()
    lines = [file.read_bytes().replace(b"\0", b" ").decode() for file in Path("/proc").glob("[0-9]*/cmdline")]
    return [line for line in lines if "wdmoe_env.workers.orphans" in line and session in line]


TUNE = ["--timesteps", "2048", "--num-envs", "8", "--evaluate-episodes", "2", "--on", "ray", "--trials", "3"]
TUNE += ["--retrain-seeds", "7", "--retrain-timesteps", "512"]


def test_a_study_goes_on_after_its_driver_was_killed(joined: Any, tiny_file: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.log"
    words = ["--scenario", str(tiny_file), "--study", str(study), *TUNE]
    command = [sys.executable, "-m", "agents.tune", *words]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as started:
        line = started.stderr.readline()
        assert "trial 0: " in line or "trial 1: " in line or "trial 2: " in line
        started.kill()
    assert tune.main(tyro.cli(tune.Options, args=words)) == 0
    states = [trial.state.name for trial in tuning._load(study).get_trials(deepcopy=False)]
    assert sum(state in ("COMPLETE", "PRUNED") for state in states) == 3
    assert "RUNNING" not in states
    assert (tmp_path / "study" / "trial-0" / "config.json").exists()
