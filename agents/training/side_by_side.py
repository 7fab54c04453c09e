"""Train several runs side by side, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from agents.files.run_dir import RunDir
from wdmoe_env.console.progress import ProgressRows, best_text
from wdmoe_env.console.stop import ASKED_BY, Stop
from wdmoe_env.files.safe import StorageError

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
INSTALLED = "wdmoe_env"
"""Package that `train.py` is a module of, where the project was installed from a wheel."""
POLL_S = 0.2
END_S = 10.0
"""How long a process may take to end at once, before it is killed: what it has saved is whole."""
LAST_LINES = 5
"""Lines of its log that tell why a run failed."""
STOPPED = {status for number in ASKED_BY for status in (-number, 128 + number)}
"""Statuses of a process that was asked to stop, while it trained or before."""


def processes(jobs: int | None) -> int:
    """Processes at once: `jobs`, or one for each core that this process may use.

    Raises:
        ValueError: jobs is below 1.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs is {jobs}, expected at least 1")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return jobs or cores or 1


def script() -> list[str]:
    """The file of `train.py`; the module, where the project was installed from a wheel."""
    # By its path, Python would find modules of an installed package by the bare names of others.
    return [f"{INSTALLED}.train"] if __name__.startswith(f"{INSTALLED}.") else [str(TRAIN)]


class Worker:
    """A process that trains a run from where it stands, and what it prints.

    Raises:
        StorageError: it does not start.
    """

    def __init__(self, run: RunDir, log: Path) -> None:
        self.run, self.log = run, log
        train = script()
        command = [sys.executable, *(train if train[0].endswith(".py") else ["-m", *train]), "--resume", str(run.path)]
        try:
            log.parent.mkdir(exist_ok=True)
            with log.open("ab") as file:
                self._before = file.tell()
                # A session of its own: Ctrl-C in the terminal reaches it once, through its parent.
                self.process = subprocess.Popen(  # noqa: S603 - this Python, on train.py
                    command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
                )
        except OSError as error:
            raise StorageError(f"{run.name} does not start: {error}") from error

    def last_lines(self) -> list[str]:
        """The end of what this process printed."""
        printed = self.log.read_bytes()[self._before :].decode(errors="replace")
        return [line.rstrip() for line in printed.splitlines() if line.strip()][-LAST_LINES:]


class SideBySide:
    """Runs that stand in their directories, trained by at most `jobs` processes at once.

    Attributes:
        failed: names of runs that ended with an error.
        stopped: names of runs that were asked to stop before their end.
    """

    def __init__(self, runs: Sequence[RunDir], logs: Path, jobs: int, total: int, console: Console) -> None:
        self.failed: list[str] = []
        self.stopped: list[str] = []
        self._waiting, self._running = list(runs), list[Worker]()
        self._logs, self._jobs, self._asked = logs, jobs, False
        self._rows = ProgressRows(console, [run.name for run in runs], total)

    def train(self) -> int:
        """Train all to their end, or until asked to stop. Returns the exit status, 0 only if all are finished."""
        with Stop().listening() as stop, self._rows:
            try:
                while self._running or self._waiting:
                    self._start(stop)
                    self._forward(stop)
                    for worker in list(self._running):
                        self._look(worker)
                    time.sleep(POLL_S)
            except BaseException:
                # Asked a second time, or failed itself: no process stays behind.
                self._end()
                raise
            return (stop.status or 1) if self.failed or self.stopped else 0

    def _start(self, stop: Stop) -> None:
        while self._waiting and len(self._running) < self._jobs and stop.reason is None:
            run = self._waiting.pop(0)
            self._running.append(Worker(run, self._logs / f"{run.name}.log"))
            self._rows.start(run.name, run.steps())

    def _forward(self, stop: Stop) -> None:
        if stop.reason is None or self._asked:
            return
        self._asked = True
        self._rows.say(f"{stop.reason}: runs finish their update and save a checkpoint; Ctrl-C now ends them at once")
        # They may have had it already, from a scheduler that sends to every process: it is one request.
        self._signal(signal.Signals[stop.reason])
        self.stopped += [run.name for run in self._waiting]
        self._waiting.clear()

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._running:
            worker.process.send_signal(number)

    def _end(self) -> None:
        until = time.monotonic() + END_S
        while (alive := [worker for worker in self._running if worker.process.poll() is None]) and (
            time.monotonic() < until
        ):
            # Again and again: the first may still count as one request with what came before.
            self._signal(signal.SIGINT)
            time.sleep(POLL_S)
        for worker in alive:
            worker.process.kill()
            worker.process.wait()

    def _look(self, worker: Worker) -> None:
        status, run = worker.process.poll(), worker.run
        done, note = run.steps(), best_text(run.best_reward())
        if status is None:
            self._rows.show(run.name, done, note)
            return
        self._running.remove(worker)
        if status == 0:
            self._rows.end(run.name, done, f"finished; {note}")
        elif self._asked and status in STOPPED:
            self.stopped.append(run.name)
            self._rows.end(run.name, done, f"stopped; {note}")
        else:
            self.failed.append(run.name)
            self._rows.end(run.name, done, f"failed with status {status}; the end of {worker.log}:")
            for line in worker.last_lines():
                self._rows.say(f"    {line}")
