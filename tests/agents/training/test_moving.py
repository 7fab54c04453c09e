"""A run that moves: what travels, what is brought back, and what a pool makes of it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.run_files import assert_same_run, text

from agents.files.run_dir import CONFIG, RunDir
from agents.plan.plan import Plan
from agents.training import moving, one_run, seeds
from agents.training.on_pool import OnPool
from agents.training.trainer import Trainer
from wdmoe_env import load_scenario
from wdmoe_env.files.safe import StorageError
from wdmoe_env.settings.contents import FILES
from wdmoe_env.settings.paths import SHIPPED
from wdmoe_env.workers.processes import LocalPool
from wdmoe_env.workers.units import Event, Failure, Unit

Make = Callable[..., Plan]
Fake = Callable[[str], None]


class Here:
    """A line to nobody."""

    def __init__(self, stop: str | None = None) -> None:
        self.told, self._stop = list[Any](), stop

    def tell(self, message: Any) -> None:
        self.told.append(message)

    def ask(self, message: Any) -> Any:
        raise AssertionError

    def stop(self) -> str | None:
        return self._stop if self.told else None


def made(plan: Plan, path: Path, console: Console) -> RunDir:
    run = RunDir(path)
    run.create(Trainer(plan, run, console).config())
    return run


@pytest.mark.slow
def test_a_run_that_was_carried_is_the_same(make_plan: Make, tmp_path: Path, console: Console) -> None:
    plan = make_plan(checkpoint_every=32)
    assert one_run.start(plan, tmp_path / "here" / "run", console) == 0
    run, line = made(plan, tmp_path / "there" / "run", console), Here()
    status, progress = moving.train(line, moving.packed(run), shared=False)
    assert status == 0, progress.printed
    assert run.checkpoints() == []
    for told in (*line.told, progress):
        moving.write(run.path, told.files)
    assert_same_run(tmp_path / "here" / "run", run.path)
    assert len(run.checkpoints()) == 2


@pytest.mark.slow
def test_files_that_a_run_names_travel_and_keep_their_names(tmp_path: Path, console: Console, make_plan: Make) -> None:
    data = tmp_path / "logs" / "wifi.csv"
    data.parent.mkdir()
    data.write_bytes((SHIPPED / "synthetic-wifi.csv").read_bytes())
    scenario = load_scenario("jetson-wifi", channel={"trace": {"files": [str(data)]}}, gating={"bank_passes": 4})
    run = made(replace(make_plan(), scenario=scenario), tmp_path / "there" / "run", console)
    packed = moving.packed(run)
    config = json.loads(packed.files[CONFIG])
    data.rename(tmp_path / "away.csv")
    with_policy = {**packed.files, "best/policy.json": b"{}"}
    path = moving._unpacked(moving.MovingRun(packed.path, with_policy, packed.named), tmp_path / "elsewhere")
    place = Path(path / config[FILES][str(data)]["relative"]).resolve()
    assert tmp_path / "elsewhere" in place.parents
    assert place.read_bytes() == packed.named[str(data)]
    assert moving._renamed(packed, path) == {json.dumps(str(place)).encode(): json.dumps(str(data)).encode()}


FAKE = """
config = run / "config.json"
(run / "metrics.csv").write_text("timesteps\\n32\\n")
print("it begins", flush=True)
(run / "checkpoints" / "000000000032").mkdir(parents=True)
(run / "checkpoints" / "000000000032" / "state.json").write_text("{}")
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: sys.exit(128 + number))
time.sleep(SECONDS)
sys.exit(STATUS)
"""


def faked(seconds: float, status: int) -> str:
    return FAKE.replace("SECONDS", str(seconds)).replace("STATUS", str(status))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    found = RunDir(tmp_path / "seed-0")
    found.create({"seed": 0})
    return found


@pytest.fixture
def blocked() -> Iterator[None]:
    """SIGINT is blocked here, as in Ray's processes."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.slow
@pytest.mark.usefixtures("blocked")
def test_ctrl_c_is_passed_on_where_it_is_blocked(run: RunDir, fake: Fake) -> None:
    fake(faked(20, 0))
    status, progress = moving.train(Here("SIGINT"), moving.packed(run), True)
    assert b"it begins" in progress.printed
    assert status == 130


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_checkpoints_are_told_and_a_request_to_stop_is_passed_on(run: RunDir, fake: Fake, shared: bool) -> None:
    fake(faked(60, 0))
    line = Here("SIGTERM")
    status, progress = moving.train(line, moving.packed(run), shared)
    assert status == 143
    assert b"it begins" in progress.printed
    assert (run.checkpoints() != []) is shared
    assert ("checkpoints/000000000032/state.json" in line.told[-1].files) is not shared


def test_what_is_gone_there_goes_here(run: RunDir) -> None:
    old, new = "checkpoints/000000000001/state.json", "checkpoints/000000000002/state.json"
    moving.write(run.path, {old: b"1", "metrics.csv": b"a"})
    moving.write(run.path, {new: b"2", old: None, "metrics.csv": None, "wandb/run/log": b"w"})
    assert moving.contents(run.path) == {
        "config.json": b'{\n "seed": 0\n}',
        "metrics.csv": b"a",
        "wandb/run/log": b"w",
        new: b"2",
    }
    (run.path / "blocked").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        moving.write(run.path, {"blocked/file": b""})


class Scripted:
    """A pool in which what happens is written down before."""

    size, near = 2, False

    def __init__(self, *events: list[Event]) -> None:
        self._events, self.started, self.stopped = list(events), list[str](), list[str]()

    def start(self, unit: Unit) -> None:
        self.started.append(unit.name)

    def events(self, timeout_s: float) -> list[Event]:
        return self._events.pop(0)


def progress(printed: bytes = b"", **files: bytes) -> moving.Progress:
    return moving.Progress({name.replace("_csv", ".csv"): content for name, content in files.items()}, printed)


def test_a_lost_run_goes_on_and_one_that_fails_names_settings_and_log(
    tmp_path: Path, run: RunDir, console: Console
) -> None:
    other = RunDir(tmp_path / "seed-1")
    other.create({"seed": 1})
    third = RunDir(tmp_path / "seed-2")
    third.create({"seed": 2})
    pool = Scripted(
        [Event("seed-0", "told", progress(b"first\n", metrics_csv=b"timesteps\n32\n")), Event("seed-0", "lost")],
        [Event("seed-1", "done", (2, progress(b"error: no\n"))), Event("seed-2", "failed", Failure(None, "T: x", "n"))],
        [Event("seed-0", "done", (0, progress(b"second\n", metrics_csv=b"timesteps\n32\n64\n")))],
    )
    group = OnPool([run, other, third], tmp_path / "logs", pool, 64, console)  # type: ignore[arg-type]
    assert group.train() == 1
    assert (pool.started, group.failed) == (["seed-0", "seed-1", "seed-2", "seed-0"], ["seed-1", "seed-2"])
    assert (tmp_path / "logs" / "seed-0.log").read_text() == "first\nsecond\n"
    assert run.steps() == 64
    printed = text(console)
    assert "seed-0: its process is lost; it goes on elsewhere from 32 steps" in printed
    log = tmp_path / "logs" / "seed-1.log"
    assert f"failed with status 2; settings: {other.path / CONFIG}; the end of {log}:" in printed
    assert "    error: no" in printed
    assert "failed on n; settings" in printed


def test_a_run_that_is_always_lost_is_given_up(tmp_path: Path, run: RunDir, console: Console) -> None:
    pool = Scripted(*[[Event("seed-0", "lost")]] * 3)
    group = OnPool([run], tmp_path / "logs", pool, 64, console)  # type: ignore[arg-type]
    assert group.train() == 1
    assert "failed as its process was lost 3 times" in text(console)


class Interrupted(Scripted):
    """A scripted pool whose driver is asked to stop while it waits for the first events."""

    def events(self, timeout_s: float) -> list[Event]:
        if not self.stopped:
            signal.raise_signal(signal.SIGTERM)
        return super().events(timeout_s)

    def stop(self, reason: str) -> list[str]:
        self.stopped.append(reason)
        return self.started[2:]


def test_asked_to_stop_runs_save_a_checkpoint_and_waiting_ones_do_not_begin(
    tmp_path: Path, run: RunDir, console: Console
) -> None:
    others = [RunDir(tmp_path / f"seed-{seed}") for seed in (1, 2)]
    for other in others:
        other.create({})
    pool = Interrupted([], [Event("seed-0", "done", (143, progress(b"saved\n"))), Event("seed-1", "lost")])
    group = OnPool([run, *others], tmp_path / "logs", pool, 64, console)  # type: ignore[arg-type]
    assert group.train() == 143
    assert pool.stopped == ["SIGTERM"], "asked once"
    assert (sorted(group.stopped), group.failed) == (["seed-0", "seed-1", "seed-2"], [])
    assert pool.started == ["seed-0", "seed-1", "seed-2"], "a run that is lost while it stops is left where it is"
    assert "SIGTERM: runs finish their update and save a checkpoint" in text(console)


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path, run: RunDir, console: Console) -> None:
    (tmp_path / "logs").write_text("in the way")
    pool = Scripted([Event("seed-0", "told", progress(b"a\n"))])
    group = OnPool([run], tmp_path / "logs", pool, 64, console)  # type: ignore[arg-type]
    with pytest.raises(StorageError, match=r"seed-0\.log cannot be written: File exists"):
        group.train()


@pytest.mark.slow
def test_several_seeds_in_a_pool_of_this_machine(
    make_plan: Make, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeds, "place", lambda on, jobs: LocalPool(2))
    plan = make_plan(timesteps=64)
    assert seeds.start(plan, [3, 4], tmp_path / "pool", console, on="ray") == 0
    assert one_run.start(replace(plan, seed=4), tmp_path / "here", console) == 0
    assert_same_run(tmp_path / "pool" / "seed-4", tmp_path / "here")
    assert seeds.resume(tmp_path / "pool", console, on="ray") == 0
    assert "is already finished" in text(console)
