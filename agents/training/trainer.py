"""The training loop, top to bottom: build, resume, learn a chunk, log, evaluate, save, stop when asked."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.files import tracking
from agents.files.run_dir import EVALUATIONS, METRICS, RunDir
from agents.plan.compatibility import encodings, first_difference, saved_scenario, scenario_difference
from agents.plan.plan import Plan
from agents.policies.trained import BEST, TrainedPolicy, save_policy
from agents.sb3.build import build, chunk_size, one_thread
from agents.sb3.state import full_state, most_bytes, restore
from agents.sb3.vec_env import WDMoEVecEnv
from agents.training.divergence import check_finite
from agents.warm_start.imitation import warm_start
from baselines.validation import validate
from wdmoe_env.console.progress import ProgressBar, best_text
from wdmoe_env.console.stop import Stop
from wdmoe_env.files.provenance import git_revision, versions
from wdmoe_env.files.safe import StorageError
from wdmoe_env.files.tree import check_same_tree, flatten, unflatten
from wdmoe_env.settings.contents import FILES, digests, kept_files
from wdmoe_env.simulator.simulator import Simulator

MAX_REWARD = 1e12


class Trainer:
    """One training run, from a plan and a directory to a trained policy.

    `evaluated` is called after each evaluation with the steps that are done and the validation reward.
    """

    def __init__(
        self, plan: Plan, run: RunDir, console: Console, evaluated: Callable[[int, float], None] = lambda *_: None
    ) -> None:
        self.plan, self.run, self._console, self._evaluated = plan, run, console, evaluated
        self.best: float | None = None
        self.finished = False
        self._warm = plan.warm_start == "none"
        self.env = WDMoEVecEnv(plan.scenario, plan.num_envs)
        self.model: BaseAlgorithm = build(plan.algorithm, self.env, plan.hyperparameters, plan.seed, self.progress)
        self._validation = Simulator(plan.scenario, plan.evaluate_episodes, "validation")
        self._next = {"evaluate": 0, "checkpoint": plan.checkpoint_every}
        self._wandb_id: str | None = None
        self._tracker: tracking.Tracker = tracking.NoTracker()

    @property
    def steps(self) -> int:
        """Environment steps that are done."""
        return self.model.num_timesteps

    def progress(self) -> float:
        """Share of the planned steps that are done."""
        return min(self.steps / self.plan.timesteps, 1.0) if hasattr(self, "model") else 0.0

    def say(self, text: str) -> None:
        """Print one line, however long it is and whatever brackets its paths hold."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def config(self) -> dict[str, Any]:
        """The plan, and with what it is carried out."""
        return {**self.plan.as_json(), "versions": versions(), "git_revision": git_revision()}

    def track(self) -> None:
        """Start logging, or go on with the run that was logged before."""
        self._tracker = tracking.start_run(
            self.plan.wandb,
            lambda text: self.say(f"warning: {text}"),
            config=self.config(),
            run_dir=self.run.path,
            job_type="train",
            run_id=self._wandb_id,
            name=self.run.name,
        )
        self._wandb_id = self._tracker.run_id

    @one_thread()
    def train(self, stop: Stop) -> int:
        """Train to the end of the plan, or until asked to stop. Returns the process's exit status."""
        try:
            if not self._warm:
                self._warm_start(stop)
            self._learn(stop)
            if self.steps >= self.plan.timesteps:
                self._evaluate()
                self.finished = True
            self.save()
        except BaseException:
            self._tracker.finish(failed=True)
            raise
        self._conclude(stop)
        return 0 if self.finished else stop.status

    def _warm_start(self, stop: Stop) -> None:
        """Imitate before learning, see what it brought, and save, so that it need not be done again."""
        found = warm_start(self.model.policy, self.plan, self._console, stop)
        if found is None:
            return
        self._warm = True
        check_finite(self.model)
        self._tracker.log({f"warm_start/{name}": value for name, value in found.figures().items()}, self.steps)
        self._try(self._evaluate)
        self._next["evaluate"] = self.plan.evaluate_every
        self._try(self.save)
        self.say(f"warm start: error of the actions {found.before:.3f} to {found.after:.3f}; {self._best_text()}")

    def _learn(self, stop: Stop) -> None:
        with ProgressBar(self._console, self.run.name, self.plan.timesteps) as bar:
            while self.steps < self.plan.timesteps and stop.reason is None:
                bar.show(self.steps, self._best_text())
                if self.steps >= self._next["evaluate"]:
                    self._try(self._evaluate)
                    self._next["evaluate"] = self.steps + self.plan.evaluate_every
                self._chunk()
                if self.steps >= self._next["checkpoint"]:
                    self._next["checkpoint"] = self.steps + self.plan.checkpoint_every
                    self._try(self.save)
            bar.show(self.steps, self._best_text())

    def _try(self, save: Callable[[], None]) -> None:
        """Save something that training can go on without."""
        try:
            save()
        except StorageError as error:
            self.say(f"warning: {error}; training goes on")

    def _chunk(self) -> None:
        """One update: learn, and log it."""
        start, before = time.perf_counter(), self.steps
        try:
            self.model.learn(chunk_size(self.model), reset_num_timesteps=False, log_interval=None)  # type: ignore[arg-type]
        except ValueError as error:
            check_finite(self.model, error)
            raise
        check_finite(self.model)
        values = {f"rollout/{name}": value for name, value in self.env.pop_metrics().items()}
        values |= {name: float(value) for name, value in self.model.logger.name_to_value.items()}
        values["time/steps_per_second"] = (self.steps - before) / (time.perf_counter() - start)
        self._tracker.log(values, self.steps)
        self._try(lambda: self.run.append(METRICS, {"timesteps": self.steps, **values}))

    def _evaluate(self) -> None:
        """Run validation episodes without exploring; keep the policy if it is the best so far."""
        values = validate(TrainedPolicy(self.run.name, self.model.policy, self.plan.scenario), self._validation)
        self._tracker.log({f"validation/{name}": value for name, value in values.items()}, self.steps)
        self.run.append(EVALUATIONS, {"timesteps": self.steps, **values})
        if self.best is None or values["reward"] > self.best:
            width = int(self.plan.hyperparameters["width"])
            save_policy(self.run.path / BEST, self.plan.algorithm, self.model.policy, width, self.plan.scenario)
            self.best = values["reward"]
        self._evaluated(self.steps, values["reward"])

    def save(self) -> None:
        """Save a checkpoint."""
        tensors: dict[str, torch.Tensor] = {}
        data = {
            "state": flatten(full_state(self.model, self.env), "state", tensors),
            "best": self.best,
            "next": self._next,
            "finished": self.finished,
            "warm": self._warm,
            "wandb_id": self._wandb_id,
            "scenario": self.plan.scenario.model_dump(mode="json"),
            "encodings": encodings(self.plan.scenario),
            FILES: kept_files(self.plan.scenario.model_dump(mode="json"), self.run.path),
        }
        self.run.save_checkpoint(self.steps, tensors, data)

    def restore(self) -> None:
        """Go on from the newest checkpoint, or from nothing where none was saved yet.

        Raises:
            StorageError: it is broken, or it is of another scenario or version.
        """
        if (checkpoint := self.run.load_checkpoint(most_bytes(self.model, self.env))) is None:
            self.say(f"{self.run.path} holds no checkpoint: training starts at its first step")
            self.run.rewind({METRICS: 0, EVALUATIONS: 0})
            return
        folder, tensors, data = checkpoint
        saved = saved_scenario(data.get("scenario"), str(folder), read_files=False)
        if difference := scenario_difference(saved, self.plan.scenario, digests(data.get(FILES))):
            raise StorageError(f"checkpoint {folder} is of another scenario: {difference}")
        if difference := first_difference(data.get("encodings"), encodings(saved), "encodings"):
            raise StorageError(f"checkpoint {folder} does not fit this version of the project: {difference}")
        try:
            self._check_form(data)
            restore(self.model, self.env, unflatten(data["state"], tensors))
            self.best, self._next, self.finished = data["best"], data["next"], data["finished"]
            self._warm, self._wandb_id = data["warm"], data["wandb_id"]
            self.run.rewind(data["rows"])
            if self.best is not None and not (self.run.path / BEST).is_dir():
                raise StorageError(f"{self.run.path / BEST}, the best policy so far, is gone: put it back")
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError, RuntimeError) as error:
            raise StorageError(f"checkpoint {folder} does not fit this run: {error}") from error

    def _check_form(self, data: dict[str, Any]) -> None:
        rows = dict.fromkeys((METRICS, EVALUATIONS), 0)
        expected = {"best": None, "next": self._next, "finished": False, "rows": rows}
        check_same_tree({name: data.get(name) for name in expected}, expected, "checkpoint")
        if data["best"] is not None and abs(data["best"]) > MAX_REWARD:
            raise ValueError(f"best is {data['best']!r:.60}, expected a reward of at most {MAX_REWARD:g}")
        name = data["wandb_id"]
        if name is not None and not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)):
            raise ValueError(f"wandb_id is {name!r:.80}, expected letters, digits, hyphens and underscores")

    def _conclude(self, stop: Stop) -> None:
        if (self.run.path / BEST).exists():
            self._tracker.artifact(self.run.path / BEST, f"policy-{self.run.name}", "model")
        if sync := self._tracker.finish():
            self.say(f"logged offline; to upload: {sync}")
        if self.finished:
            self.say(f"finished after {self.steps:,} steps; {self._best_text()}; policy in {self.run.path / BEST}")
        else:
            advice = f"go on with: python train.py --resume {self.run.path}"
            self.say(f"stopped by {stop.reason} after {self.steps:,} steps; checkpoint saved; {advice}")

    def _best_text(self) -> str:
        return best_text(self.best)
