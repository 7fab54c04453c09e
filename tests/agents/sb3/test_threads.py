"""Torch computes with one thread while it trains, and with as many as before afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from agents.files.run_dir import RunDir
from agents.plan.plan import Plan
from agents.sb3.build import build, one_thread
from agents.sb3.vec_env import WDMoEVecEnv
from agents.training.trainer import Trainer
from wdmoe_env.console.stop import Stop


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_a_failure_gives_the_threads_back() -> None:
    seen: list[int] = []

    @one_thread()
    def fail() -> None:
        seen.append(torch.get_num_threads())
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [1]
    assert torch.get_num_threads() == 3


def test_building_leaves_the_process_as_it_was(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan()
    build("ppo", WDMoEVecEnv(plan.scenario, 2), plan.hyperparameters, 0, lambda: 0.0)
    assert torch.get_num_threads() == 3


def test_training_uses_one_and_leaves_the_process_as_it_was(
    make_plan: Callable[..., Plan], tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, real = [], Trainer._chunk

    def chunk(self: Any) -> None:
        seen.append(torch.get_num_threads())
        real(self)

    monkeypatch.setattr(Trainer, "_chunk", chunk)
    assert Trainer(make_plan(timesteps=32), RunDir(tmp_path), console).train(Stop()) == 0
    assert seen == [1]
    assert torch.get_num_threads() == 3
