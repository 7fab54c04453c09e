from __future__ import annotations

import io
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.shared_fixtures import tiny, tiny_file  # noqa: F401 - fixtures

from agents.plan.hyperparameters import hyperparameters
from agents.plan.plan import Plan
from agents.training import side_by_side, trainer
from wdmoe_env import Scenario

# Doctests are looked for in every file; two that are called conftest cannot both be imported for it.
collect_ignore = ["conftest.py"]

SMALL: dict[str, dict[str, Any]] = {
    "ppo": {"width": 8, "rollout": 32, "batch_size": 16, "n_epochs": 2},
    "sac": {"width": 8, "buffer_size": 4096, "learning_starts": 2100, "batch_size": 16, "gradient_steps": 1},
}
FAKE = """
import os, signal, sys, time
from pathlib import Path
run = Path(sys.argv[2])
seed = int(run.name.removeprefix("seed-"))
"""


@pytest.fixture
def make_plan(tiny: Scenario) -> Callable[..., Plan]:
    def make(algorithm: Any = "ppo", **changes: Any) -> Plan:
        settings = hyperparameters(algorithm, "paper", **{**SMALL[algorithm], **changes.pop("settings", {})})
        # A chunk is a rollout of 32 for PPO, and 2048 steps for SAC, whose first ones act at random.
        chunk = 32 if algorithm == "ppo" else 2048
        values: dict[str, Any] = {
            "timesteps": 4 * chunk,
            "num_envs": 4 if algorithm == "ppo" else 64,
            "evaluate_every": chunk,
            "evaluate_episodes": 3,
            "checkpoint_every": 100 * chunk,
            **changes,
        }
        return Plan(algorithm, tiny, settings, seed=5, wandb="disabled", **values)

    return make


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=300)


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Press Ctrl-C during the n-th chunk."""

    def stop(chunks: int) -> None:
        calls, real = iter(range(1, 1000)), trainer.Trainer._chunk

        def chunk(self: trainer.Trainer) -> None:
            real(self)
            if next(calls) == chunks:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(trainer.Trainer, "_chunk", chunk)

    return stop


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace train.py by a script that knows `run`, its run's folder, and `seed`."""

    def install(code: str) -> None:
        head = (
            "import os, signal, sys, time\nfrom pathlib import Path\nrun = Path(sys.argv[2])\nseed = int(run.name[5:])"
        )
        script = tmp_path / "fake.py"
        script.write_text(f"{head}\n{code}\n")
        monkeypatch.setattr(side_by_side, "TRAIN", script)

    return install
