"""Kill a training run with SIGKILL at random moments, and go on with it: is everything readable, and the end the same?

After each kill the configuration, the tables, the best policy and the kept checkpoints must load. The run that was
killed must end with the same files as one of the same seed that was left alone, bit for bit. A checkpoint is saved
after every update, and every other kill waits for one that is being written. Bar: both hold, for every kill.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from benchmarks import harness

import agents
from agents.files.run_dir import CONFIG, EVALUATIONS, METRICS, STEM, RunDir
from agents.files.table import numbers
from agents.plan.plan import plan_from
from wdmoe_env.files.tensors import load_folder

ROOT: Final = Path(__file__).resolve().parents[1]
SETTINGS: Final = {
    "ppo": ("--num-envs", "16", "--set", "rollout", "512", "batch_size", "128"),
    # The replay buffer is full, and written over, before half of the run is done.
    "sac": ("--num-envs", "64", "--set", "learning_starts", "2100", "buffer_size", "16384", "gradient_steps", "1"),
}
"""Small updates, and by default `UPDATES` of them."""
UPDATE: Final = {"ppo": 512, "sac": 2048}
UPDATES: Final = 60
LAST: Final = 0.95
"""Share of the run after which nothing is killed, as it would be over first."""
DELAY_S: Final = 0.3
"""Most seconds between the update that is waited for and the kill."""
SAVE_S: Final = 0.01
"""The same, for a kill that waits for a save."""
PATIENCE_S: Final = 300.0


COLUMNS: Final = ("algorithm", "kill", "steps before", "checkpoint", "in a save", "readable")


@dataclass(frozen=True)
class Options(harness.Options):
    """What is killed."""

    kills: int = 20
    """How often the run is killed."""
    algo: tuple[Literal["ppo", "sac"], ...] = ("ppo", "sac")
    """Algorithms."""
    scenario: str = "paper"
    """Preset, or path of a YAML file."""
    seed: int = 0
    """Seed of the run and of the moments."""
    updates: int = UPDATES
    """Length of the run."""


def main(options: Options) -> int:
    all_same = True
    with harness.Report(options, COLUMNS) as report:
        for algo in options.algo:
            with tempfile.TemporaryDirectory() as folder:
                for row in torture(algo, options.scenario, options.kills, options.seed, options.updates, Path(folder)):
                    if "kill" in row:
                        report.add({"algo": algo, **row}, [algo, *(str(value) for value in row.values())])
                    else:
                        all_same &= row["same"]
                        end = "the same, bit for bit" if row["same"] else "NOT the same"
                        report.note(f"{algo}: the end is {end}", {"algo": algo, **row})
    return 0 if all_same else 1


def torture(algo: str, scenario: str, kills: int, seed: int, updates: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each kill, and at last whether the run's end is `same` as that of one that was left alone."""
    rng = np.random.default_rng(seed)
    timesteps, killed, whole = updates * UPDATE[algo], RunDir(folder / "killed"), RunDir(folder / "whole")
    plan = ["--algo", algo, "--scenario", scenario, "--seed", str(seed), "--timesteps", str(timesteps)]
    plan += ["--checkpoint-every", "1", "--evaluate-every", str(2 * UPDATE[algo]), "--evaluate-episodes", "4"]
    plan += ["--wandb", "disabled", *SETTINGS[algo]]
    alone = train(folder, *plan, "--run-dir", str(whole.path))
    try:
        command = [*plan, "--run-dir", str(killed.path)]
        for kill, target in enumerate(np.sort(rng.uniform(0.0, LAST * timesteps, kills)), 1):
            process = train(folder, *command)
            wait_for(process, killed, target, in_save=kill % 2 == 0)
            time.sleep(rng.uniform(0.0, SAVE_S if kill % 2 == 0 else DELAY_S))
            process.kill()
            process.wait()
            yield {"kill": kill, **check(killed)}
            command = ["--resume", str(killed.path)]
        for process in (train(folder, *command), alone):
            if status := process.wait():
                raise ChildProcessError(f"train.py ended with status {status}: {log(folder)}")
    finally:
        alone.kill()
    yield {"same": content(killed) == content(whole)}


def train(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start train.py; what it prints goes to a file."""
    with (folder / "log").open("ab") as file:
        return subprocess.Popen([sys.executable, str(ROOT / "train.py"), *arguments], stdout=file, stderr=file)


def log(folder: Path) -> str:
    """The last that train.py printed."""
    return (folder / "log").read_text(errors="replace")[-500:]


def wait_for(process: subprocess.Popen[bytes], run: RunDir, target: float, in_save: bool) -> None:
    """Wait until the run has a checkpoint and has done `target` steps in this process, then perhaps for a save."""
    metrics, until = run.path / METRICS, time.monotonic() + PATIENCE_S
    # Who resumes writes the table anew; until then it tells of the process before.
    before = metrics.stat().st_ino if metrics.exists() else None

    def reached() -> bool:
        trains = metrics.exists() and metrics.stat().st_ino != before
        return trains and run.steps() >= target and bool(run.checkpoints()) and (not in_save or bool(remains(run)))

    while not reached():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            raise ChildProcessError(f"train.py ended or hangs before {target:,.0f} steps: {log(run.path.parent)}")
        time.sleep(0.001)


def remains(run: RunDir) -> list[Path]:
    """What a save that is under way, or was cut short, has beside the folders that are whole."""
    found = [path for parent in (run.path, run.path / "checkpoints") for path in parent.glob(".*")]
    return [path for path in found if path.suffix in (".part", ".old")]


def check(run: RunDir) -> dict[str, Any]:
    """Read everything that a process left which was killed; nothing is tidied or mended here.

    Raises:
        StorageError: something cannot be read.
    """
    plan_from(run.config(), run.path / CONFIG)
    agents.load(run.path)
    kept = run.checkpoints()[-2:]
    data = [load_folder(folder, STEM, 2**30)[1] for folder in kept]
    rows = {name: numbers(run.path / name, "timesteps") for name in (METRICS, EVALUATIONS)}
    readable = all(len(rows[name]) >= count for name, count in data[-1]["rows"].items())
    return {
        "steps": run.steps(),
        "checkpoint": int(kept[-1].name),
        "in_a_save": bool(remains(run)),
        "readable": readable and all(found == sorted(found) for found in rows.values()),
    }


def content(run: RunDir) -> dict[str, Any]:
    """What a finished run left: its evaluations, metrics but for the speed, best policy and last state."""
    with (run.path / METRICS).open(newline="") as file:
        metrics = [{**row, "time/steps_per_second": ""} for row in csv.DictReader(file)]
    files = [path for folder in (run.path / "best", run.checkpoints()[-1]) for path in folder.iterdir()]
    files.append(run.path / EVALUATIONS)
    return {METRICS: metrics, **{str(path.relative_to(run.path)): path.read_bytes() for path in files}}


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
