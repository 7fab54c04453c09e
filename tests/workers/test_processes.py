"""Units in processes of this machine: values, failures, deaths, messages, and what is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from support.talking import talk

from wdmoe_env.workers import processes
from wdmoe_env.workers.processes import LocalPool
from wdmoe_env.workers.units import Line, PoolError, Shared, Unit, UnitError, results

ROOT = Path(__file__).resolve().parents[2]


def add(left: int, right: int) -> int:
    return left + right


def refuse(what: str) -> None:
    raise ValueError(f"{what} is wrong")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(mark: Path) -> str:
    if not mark.exists():
        mark.touch()
        die()
    return "done"


def converse(line: Line, number: int) -> tuple[int, str | None]:
    line.tell(number)
    doubled = line.ask(number + 1)
    while line.stop() is None:
        time.sleep(0.01)
    return doubled, line.stop()


class OddError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("cannot travel")


def raise_odd() -> None:
    raise OddError(1, 2)


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    with LocalPool(2) as made:
        yield made


@pytest.mark.slow
def test_values_come_back_by_name_and_shared_ones_travel_along(pool: LocalPool) -> None:
    shared, seen = pool.share(40), list[str]()
    units = [Unit(f"unit {number}", add, (shared, number)) for number in range(5)]
    assert results(pool, units, (), seen.append) == {f"unit {number}": 40 + number for number in range(5)}
    assert sorted(seen) == [unit.name for unit in units]
    assert pool.facts()["at_once"] == 2


@pytest.mark.slow
def test_what_is_expected_is_raised_as_it_was_and_all_else_names_the_unit(pool: LocalPool) -> None:
    unit = Unit("the third", refuse, ("length",))
    with pytest.raises(ValueError, match="length is wrong"):
        results(pool, [unit], (ValueError,))
    with pytest.raises(UnitError, match=r"the third failed on process \d+:\nTraceback(.|\n)*length is wrong"):
        results(pool, [unit], ())
    with pytest.raises(UnitError, match="cannot travel"):
        results(pool, [Unit("odd", raise_odd)], (OddError,))


@pytest.mark.slow
def test_a_unit_whose_process_dies_is_run_again_but_not_for_ever(pool: LocalPool, tmp_path: Path) -> None:
    assert results(pool, [Unit("unlucky", die_once, (tmp_path / "mark",))], ()) == {"unlucky": "done"}
    with pytest.raises(PoolError, match="deadly was lost 3 times"):
        results(pool, [Unit("deadly", die)], ())


@pytest.mark.slow
def test_units_talk_and_stop_when_asked(pool: LocalPool) -> None:
    heard = talk(pool, Unit("talker", converse, (20,), talks=True))
    assert heard == [("told", 20), ("asked", 21), ("done", (42, "SIGTERM"))]


LEAVER = """
import os, sys, time
sys.path.insert(0, {tests!r})
from wdmoe_env.workers.processes import LocalPool
from wdmoe_env.workers.units import Unit
if __name__ == "__main__":
    pool = LocalPool(1)
    pool.start(Unit("pid", os.getpid))
    print(pool.events(60)[0].value, flush=True)
    pool.start(Unit("sleeper", time.sleep, (60,)))
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_process_ends_when_the_one_that_started_it_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "leaver.py"
    script.write_text(LEAVER.format(tests=str(ROOT / "tests")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as started:
        assert started.stdout is not None
        worker = int(started.stdout.readline())
        started.kill()
    until = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()


def test_what_runs_in_a_process_serves_until_its_pipe_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same here, where it can be looked at: units, shared values, messages, the wish to stop."""
    monkeypatch.setattr(processes, "end_with", lambda parent: None)
    here, there = multiprocessing.Pipe()
    heard: list[tuple[str, Any]] = []

    def drive() -> None:
        here.send_bytes(cloudpickle.dumps(("run", (Unit("sum", add, (Shared(0), 2)), {0: cloudpickle.dumps(40)}))))
        heard.append(cloudpickle.loads(here.recv_bytes()))
        here.send_bytes(cloudpickle.dumps(("run", (Unit("talk", converse, (1,), talks=True), {}))))
        heard.extend(cloudpickle.loads(here.recv_bytes()) for _ in range(2))
        for reply in (("stop", "SIGTERM"), ("answer", 4)):
            here.send_bytes(cloudpickle.dumps(reply))
        heard.append(cloudpickle.loads(here.recv_bytes()))
        here.close()

    driver, before = threading.Thread(target=drive), signal.getsignal(signal.SIGINT)
    driver.start()
    try:
        processes._serve(there, os.getpid())
    finally:
        signal.signal(signal.SIGINT, before)
    driver.join()
    assert heard == [("done", 42), ("told", 1), ("asked", 2), ("done", (4, "SIGTERM"))]
