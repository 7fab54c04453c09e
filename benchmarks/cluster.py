"""What a Ray cluster of several nodes on this machine costs and brings: units that sleep, empty ones, training runs.

Units that sleep need no core, so they show the engine alone; nodes of one machine share its cores, so runs do not show
what other machines would bring. Runs are carried: no folder is shared.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle
from rich.console import Console

from benchmarks import harness

from agents.files.run_dir import RunDir
from agents.plan.hyperparameters import hyperparameters
from agents.plan.plan import Plan
from agents.training.on_pool import OnPool
from wdmoe_env import load_scenario
from wdmoe_env.workers.on_ray import RayPool
from wdmoe_env.workers.units import Event, Unit, results


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    nodes: tuple[int, ...] = (1, 2, 3)
    """Nodes of one core each, the head included."""
    units: int = 24
    """Units that sleep, and as many empty ones."""
    sleep_s: float = 0.5
    """Seconds that each of the former sleeps."""
    runs: int = 3
    """Training runs."""
    scenario: str = "tiny-moe"
    """Preset, or path of a YAML file, that they train in."""
    timesteps: int = 4096
    """Steps of each, with 4 checkpoints."""


class _Counting:
    """A pool that counts the bytes that it brings back."""

    def __init__(self, pool: RayPool) -> None:
        self._pool, self.size, self.near, self.moved = pool, pool.size, pool.near, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def events(self, timeout_s: float) -> list[Event]:
        """As the pool's."""
        found = self._pool.events(timeout_s)
        self.moved += sum(len(cloudpickle.dumps(event.value)) for event in found)
        return found


def main(options: Options) -> None:
    columns = (
        "nodes",
        "start, s",
        "asleep, s",
        "at best, s",
        "empty units, 1/s",
        "runs, s",
        "moved, MB",
        "driver, CPU s",
    )
    with harness.Report(options, columns) as report:
        for count in options.nodes:
            row = measure(count, options)
            cells = [f"{row[name]:,.1f}" for name in ("start_s", "asleep_s", "best_s", "empty_per_s", "runs_s")]
            report.add(row, [str(count), *cells, f"{row['moved_mb']:,.2f}", f"{row['driver_cpu_s']:,.1f}"])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        report.note(f"driver's memory at most {peak:,.0f} MB", {"driver_peak_mb": peak})


def measure(count: int, options: Options) -> dict[str, Any]:
    """One row: seconds until all nodes are there, of all units, and of all runs."""
    begin = time.perf_counter()
    with _nodes(count) as address, RayPool(address, None) as pool:
        results(pool, [Unit(f"first {number}", os.getpid) for number in range(count)], ())
        ready = time.perf_counter()
        results(pool, [Unit(f"asleep {n}", time.sleep, (options.sleep_s,)) for n in range(options.units)], ())
        slept = time.perf_counter()
        results(pool, [Unit(f"empty {number}", os.getpid) for number in range(options.units)], ())
        emptied = time.perf_counter()
        cpu, counting = time.process_time(), _Counting(pool)
        with tempfile.TemporaryDirectory() as folder:
            _train(counting, Path(folder), options)
        trained = time.perf_counter()
    return {
        "nodes": count,
        "start_s": ready - begin,
        "asleep_s": slept - ready,
        "best_s": options.sleep_s * -(-options.units // count),
        "empty_per_s": options.units / (emptied - slept),
        "runs": options.runs,
        "runs_s": trained - emptied,
        "moved_mb": counting.moved / 1e6,
        "driver_cpu_s": time.process_time() - cpu,
    }


def _train(pool: _Counting, folder: Path, options: Options) -> None:
    settings = hyperparameters("ppo", None, rollout=256, batch_size=64)
    quarter = max(options.timesteps // 4, 1)
    plan = Plan(
        "ppo", load_scenario(options.scenario), settings, options.timesteps, 8, 0, "disabled", quarter, 2, quarter
    )
    runs = [RunDir(folder / f"seed-{seed}") for seed in range(options.runs)]
    for seed, run in enumerate(runs):
        run.create(replace(plan, seed=seed).as_json())
    group = OnPool(runs, folder / "logs", pool, plan.timesteps, Console(quiet=True), shared=False)
    if group.train():
        raise ValueError(f"{len(group.failed)} of {options.runs} runs failed")


@contextmanager
def _nodes(count: int) -> Iterator[str]:
    """The address of a cluster of nodes with one core each."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(count - 1):
            cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
