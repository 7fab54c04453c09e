"""The training loop, top to bottom: build, resume, learn a chunk, log, evaluate, save, stop when asked."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from stable_baselines3.common.base_class import BaseAlgorithm

from agents import tracking
from agents.build import build, chunk_size, full_state, restore
from agents.policy import BEST, TrainedPolicy, save_policy, scenario_difference
from agents.run_dir import RunDir, provenance
from agents.settings import Algorithm, hyperparameters
from agents.storage import StorageError, flatten, unflatten
from agents.vec_env import WDMoEVecEnv
from wdmoe_env.scenario import Scenario, load_scenario
from wdmoe_env.simulator import Simulator

VALIDATION_SEED = 20_241_106
"""Validation episodes are drawn from this seed, on a bank of gate weights of their own, in every run."""


@dataclass(frozen=True)
class Plan:
    """What one training run is asked to do."""

    algorithm: Algorithm
    scenario: Scenario
    timesteps: int
    num_envs: int
    seed: int
    wandb: tracking.WandbMode
    evaluate_every: int = 50_000
    evaluate_episodes: int = 32
    checkpoint_every: int = 200_000
    overrides: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """The resolved hyperparameters."""
        return hyperparameters(self.algorithm, self.scenario.name, **self.overrides)

    def as_json(self) -> dict[str, Any]:
        """Fit for config.json."""
        plain = {key: value for key, value in asdict(self).items() if key != "scenario"}
        return {**plain, "scenario": self.scenario.model_dump(mode="json"), "hyperparameters": self.settings()}


def plan_of(run: RunDir) -> Plan:
    """The plan that a run directory was started with."""
    config = run.config()
    try:
        values = {name: config[name] for name in Plan.__dataclass_fields__}
    except KeyError as error:
        raise StorageError(f"{run.path / 'config.json'} lacks {error.args[0]!r}") from error
    import json

    return Plan(**{**values, "scenario": Scenario.model_validate_json(json.dumps(config["scenario"]))})


class Stop:
    """Set by Ctrl-C and SIGTERM: the running update is finished, a checkpoint is saved. A second Ctrl-C is immediate."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.reason is not None:
            raise KeyboardInterrupt
        self.reason = signal.Signals(number).name

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen for as long as the context lasts."""
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Trainer:
    """One training run, from a plan and a directory to a trained policy."""

    def __init__(self, plan: Plan, run: RunDir, console: Console) -> None:
        self.plan, self.run, self.console = plan, run, console
        self.settings = plan.settings()
        self.best: float | None = None
        self.env = WDMoEVecEnv(plan.scenario, plan.num_envs)
        self.model: BaseAlgorithm = build(plan.algorithm, self.env, self.settings, plan.seed, self.progress)
        self._validation = Simulator(plan.scenario, plan.evaluate_episodes, "validation")
        self._next = {"evaluate": 0, "checkpoint": plan.checkpoint_every}
        self._wandb_id: str | None = None
        self._tracker: tracking.Tracker = tracking.NoTracker()

    def progress(self) -> float:
        """Share of the planned steps that are done."""
        model = getattr(self, "model", None)
        return 0.0 if model is None else min(model.num_timesteps / self.plan.timesteps, 1.0)

    def train(self, resume: bool = False) -> int:
        """Train to the end of the plan, or until asked to stop. Returns the process's exit status."""
        stop = Stop()
        with stop.listening():
            if resume:
                self._restore()
            self._tracker = tracking.start_run(
                self.plan.wandb,
                config={**self.plan.as_json(), **provenance()},
                run_dir=self.run.path,
                job_type="train",
                run_id=self._wandb_id,
                name=self.run.path.name,
            )
            self._wandb_id = self._tracker.run_id
            with self._bar() as bar:
                task = bar.add_task(self.run.path.name, total=self.plan.timesteps, best="")
                while self.model.num_timesteps < self.plan.timesteps and stop.reason is None:
                    bar.update(task, completed=self.model.num_timesteps, best=self._best_text())
                    self._chunk()
                bar.update(task, completed=self.model.num_timesteps, best=self._best_text())
            finished = stop.reason is None
            if finished:
                self._evaluate()
            self._save()
            self._finish(stop.reason)
        return 0 if finished else 128 + signal.Signals[str(stop.reason)]

    def _chunk(self) -> None:
        """One update: learn, log, and what is due."""
        start, before = time.perf_counter(), self.model.num_timesteps
        if before >= self._next["evaluate"]:
            self._evaluate()
            self._next["evaluate"] = before + self.plan.evaluate_every
        self.model.learn(chunk_size(self.model), reset_num_timesteps=False, log_interval=None)  # type: ignore[call-arg]
        done = self.model.num_timesteps
        values = {f"rollout/{name}": value for name, value in self.env.pop_metrics().items()}
        values |= {name: float(value) for name, value in self.model.logger.name_to_value.items()}
        values["time/steps_per_second"] = (done - before) / (time.perf_counter() - start)
        self.run.append("metrics.csv", {"timesteps": done, **values})
        self._tracker.log(values, done)
        if done >= self._next["checkpoint"]:
            self._next["checkpoint"] = done + self.plan.checkpoint_every
            try:
                self._save()
            except StorageError as error:
                self.console.print(f"[yellow]{error}; training goes on")

    def _evaluate(self) -> None:
        """Run validation episodes without exploring; keep the policy if it is the best so far."""
        step = self.model.num_timesteps
        values = validate(TrainedPolicy(self.run.path.name, self.model.policy, self.plan.scenario), self._validation)
        self.run.append("evaluations.csv", {"timesteps": step, **values})
        self._tracker.log({f"validation/{name}": value for name, value in values.items()}, step)
        if self.best is None or values["reward"] > self.best:
            self.best = values["reward"]
            width = int(self.settings["width"])
            save_policy(self.run.path / BEST, self.plan.algorithm, self.model.policy, width, self.plan.scenario)

    def _save(self) -> None:
        tensors: dict[str, Any] = {}
        state = flatten(full_state(self.model, self.env), "state", tensors)
        data = {"state": state, "best": self.best, "next": self._next, "wandb_id": self._wandb_id}
        data["scenario"] = self.plan.scenario.model_dump(mode="json")
        self.run.save_checkpoint(self.model.num_timesteps, tensors, data)

    def _restore(self) -> None:
        tensors, data = self.run.load_checkpoint()
        if difference := scenario_difference(load_scenario(_scenario(data["scenario"])), self.plan.scenario):
            raise StorageError(f"the checkpoint in {self.run.path} is of another scenario: {difference}")
        restore(self.model, self.env, unflatten(data["state"], tensors))
        self.best, self._next, self._wandb_id = data["best"], data["next"], data["wandb_id"]
        self.run.forget_after(self.model.num_timesteps)
        self.console.print(f"resuming {self.run.path} at {self.model.num_timesteps:,} steps")

    def _finish(self, reason: str | None) -> None:
        if (self.run.path / BEST).exists():
            self._tracker.artifact(self.run.path / BEST, f"policy-{self.run.path.name}", "model")
        if sync := self._tracker.finish():
            self.console.print(f"logged offline; to upload: {sync}", soft_wrap=True)
        steps = f"{self.model.num_timesteps:,} steps"
        if reason is None:
            self.console.print(f"finished after {steps}; {self._best_text()}; policy in {self.run.path / BEST}")
        else:
            self.console.print(
                f"stopped by {reason} after {steps}; checkpoint saved; go on with: python train.py --resume {self.run.path}",
                soft_wrap=True,
            )

    def _best_text(self) -> str:
        return "" if self.best is None else f"best validation reward {self.best:.4f}"

    def _bar(self) -> Progress:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"),
        )
        return Progress(*columns, console=self.console)


def validate(policy: TrainedPolicy, simulator: Simulator) -> dict[str, float]:
    """Mean metrics of one episode in every environment, from the fixed validation seed; latency in ms a pass."""
    observation = simulator.reset(VALIDATION_SEED)
    totals: dict[str, float] = {"reward": 0.0, "retained_mass": 0.0, "latency": 0.0, "wlr": 0.0}
    steps = simulator.scenario.steps_per_episode
    for _ in range(steps):
        outcome = simulator.step(policy.decide(observation))
        observation = outcome.observation
        for name in totals:
            totals[name] += float(np.mean(outcome.metrics[name])) / steps
    totals["latency_ms"] = totals.pop("latency") * simulator.scenario.model.layers * 1e3
    return totals


def _scenario(data: Any) -> Scenario:
    import json

    return Scenario.model_validate_json(json.dumps(data))


def start(plan: Plan, path: Path, console: Console) -> int:
    """Start a run in a new directory."""
    return Trainer(plan, RunDir.create(path, {**plan.as_json(), **provenance()}), console).train()


def resume(path: Path, console: Console, scenario: Scenario | None = None) -> int:
    """Go on with the run in a directory; a scenario, if one is given, must be the run's own."""
    run = RunDir(path)
    plan = plan_of(run)
    if scenario is not None and (difference := scenario_difference(plan.scenario, scenario)):
        raise StorageError(f"{path} was started with another scenario: {difference}")
    return Trainer(plan, run, console).train(resume=True)
