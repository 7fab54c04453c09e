"""Run policies on held-out episodes, so that all of them meet the same channels and gate weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evaluation.episodes.errors import blaming
from evaluation.episodes.plan import Plan
from evaluation.episodes.reading import Reading
from evaluation.episodes.sampling import SampledSteps, Sampler
from evaluation.episodes.timing import time_decisions
from wdmoe_env import Observation, Policy, Scenario, Simulator
from wdmoe_env.arrays import BoolArray, FloatArray, IntArray
from wdmoe_env.system.metrics import SCHEMA

_TOGETHER = 1e-3

EPISODE_METRICS: Final = (
    "latency_ms",
    "wlr",
    "wlr_token",
    "wlr_device",
    "retained_mass",
    "reward",
    "experts_per_token",
)
"""What an episode is judged by: milliseconds of a forward pass, and means over the steps of all else."""


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """What one policy did in all episodes of a plan.

    Attributes:
        steps: (steps, episodes) of each metric in `wdmoe_env.system.metrics.SCHEMA`, in single precision.
        episodes: (episodes,) of each metric in `EPISODE_METRICS`, and in `READING_METRICS` where a model read.
        chunk: (episodes,) index of the chunk that each episode was run in.
        clusters: (episodes,) what episodes have in common: the first forward pass of the held-out bank that each
            replays, or where a model read, what `Reading.clusters` says.
        slowest: (U,) share of layers in which each device is the one that is waited for. Devices that finish together
            share the layer: an exact split of the band lets all finish at once, and then rounding alone names one.
        decision_us: (decisions,) microseconds of a decision for one environment.
        sampled: the plan's sample of steps; None where it has none.
    """

    steps: Mapping[str, NDArray[Any]]
    episodes: Mapping[str, FloatArray]
    chunk: NDArray[np.int64]
    clusters: IntArray
    slowest: FloatArray
    decision_us: FloatArray
    sampled: SampledSteps | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one policy did in one chunk of N episodes.

    Attributes:
        values: (steps, N) of each metric.
        read: (N,) of what was read.
        slowest: (U,) how often each device is the last.
        passes: (N,) first passes of the bank.
        sampled: those of the plan's sampled steps that lie here.
    """

    values: dict[str, NDArray[Any]]
    read: dict[str, FloatArray]
    slowest: FloatArray
    passes: NDArray[np.int64]
    sampled: list[SampledSteps]


def run_policy(
    policy: Policy,
    scenario: Scenario,
    plan: Plan,
    *,
    name: str | None = None,
    tick: Callable[[], None] | None = None,
    reading: Reading | None = None,
    chunks: Sequence[Chunk] | None = None,
) -> PolicyRun:
    """Run `policy` in every episode of the plan, then time single decisions.

    Args:
        policy: what decides; it is reset before each chunk.
        scenario: what is simulated.
        plan: which episodes.
        name: what errors call the policy; its own name by default.
        tick: called after each decision, for a progress bar.
        reading: a model that reads in the episodes, and whose gate weights are decided on then. Decisions that are
            timed are on the scenario's own all the same.
        chunks: what `run_chunk` brought for each of the plan's chunks, where they were run elsewhere; None: run here.

    Raises:
        EvaluationError: a decision is invalid or a metric is not finite; names the policy, the scenario and the step.
    """
    label, tick = name or policy.name, tick or _nothing
    if reading is not None and reading.live is not None:
        reading.live.begin(label)
    sizes = [size for _, size in plan.chunks(scenario)]
    if chunks is None:
        chunks = [run_chunk(policy, scenario, plan, index, label, tick, reading) for index in range(len(sizes))]
    values = {key: np.concatenate([chunk.values[key] for chunk in chunks], axis=1) for key in SCHEMA}
    read = {key: np.concatenate([chunk.read[key] for chunk in chunks]) for key in chunks[0].read}
    passes = np.concatenate([chunk.passes for chunk in chunks])
    sampled = [steps for chunk in chunks for steps in chunk.sampled]
    return PolicyRun(
        steps={key: _compact(value) for key, value in values.items()},
        episodes=_per_episode(values, scenario.traffic.passes_per_episode) | read,
        chunk=np.repeat(np.arange(len(sizes)), sizes),
        clusters=passes if reading is None else reading.clusters,
        slowest=np.average([chunk.slowest for chunk in chunks], axis=0, weights=sizes),
        decision_us=time_decisions(policy, scenario, plan, name=label, tick=tick),
        sampled=SampledSteps.join(sampled) if sampled else None,
    )


def run_chunk(
    policy: Policy,
    scenario: Scenario,
    plan: Plan,
    index: int,
    name: str,
    tick: Callable[[], None] | None = None,
    reading: Reading | None = None,
) -> Chunk:
    """Run `policy` in one of the plan's chunks, which depends on none of the others.

    Raises:
        EvaluationError: as `run_policy`.
    """
    seeds = list(plan.chunks(scenario))
    (seed, size), start = seeds[index], sum(size for _, size in seeds[:index])
    step, episode = plan.sample(scenario)
    simulator = reading.simulator(scenario, size) if reading else Simulator(scenario, size, split="test")
    here = (start <= episode) & (episode < start + size)
    walk = _Walk(policy, simulator, Sampler(step[here], episode[here], start), name, tick or _nothing)
    return _run_chunk(walk, seed, reading, slice(start, start + size))


def _nothing() -> None:
    """Do nothing."""


class _Walk:
    """Takes a policy through the steps of one chunk and keeps what came of each."""

    def __init__(
        self, policy: Policy, simulator: Simulator, sampler: Sampler, name: str, tick: Callable[[], None]
    ) -> None:
        self.policy, self.simulator, self.sampler = policy, simulator, sampler
        self.name, self._tick = name, tick
        self.metrics: list[Mapping[str, NDArray[Any]]] = []
        self.slowest = np.zeros(simulator.scenario.num_devices)

    def act(self, observation: Observation) -> BoolArray:
        """Decide and step; return the selection that was decided on."""
        simulator, step = self.simulator, self.simulator.steps
        self.sampler.before(simulator)
        decision = self.policy.decide(observation)
        with blaming(self.name, simulator.scenario, step):
            outcome = simulator.step(decision)
            for key in SCHEMA:
                if not np.isfinite(outcome.metrics[key]).all():
                    raise ValueError(f"metric {key!r} is not finite")
        self.sampler.after(outcome, step)
        self.metrics.append(outcome.metrics)
        self.slowest += _slowest(outcome.observation.last_device_time) / simulator.scenario.steps_per_episode
        self._tick()
        return decision.selection


def _run_chunk(walk: _Walk, seed: int, reading: Reading | None, episodes: slice) -> Chunk:
    """Run an episode in every environment."""
    simulator, read = walk.simulator, dict[str, FloatArray]()
    walk.policy.reset(simulator.scenario, simulator.num_envs)
    simulator.reset(seed)
    passes = simulator.passes.copy()
    if reading is None:
        for _ in range(simulator.scenario.steps_per_episode):
            walk.act(simulator.observation)
    else:
        read = reading.read(episodes, simulator, walk.act)
    values = {key: np.stack([metrics[key] for metrics in walk.metrics]) for key in SCHEMA}
    if reading is not None and reading.live is not None:
        measured = reading.live.take(simulator, walk.name, episodes.start)
        slowest = np.mean([_slowest(times[None]) for times in measured.device_times], axis=0)
        return Chunk({**values, **measured.metrics}, read | measured.episode, slowest, passes, [])
    return Chunk(values, read, walk.slowest, passes, walk.sampler.kept())


def _slowest(device_time: FloatArray) -> FloatArray:
    """(U,) share of environments in which each device finishes last, from (N, U) times; ties are shared."""
    last = device_time >= device_time.max(axis=-1, keepdims=True) * (1.0 - _TOGETHER)
    shares: FloatArray = (last / last.sum(axis=-1, keepdims=True)).mean(axis=0)
    return shares


def _per_episode(values: Mapping[str, NDArray[Any]], passes: int) -> dict[str, FloatArray]:
    means = {key: values[key].mean(axis=0) for key in EPISODE_METRICS if key in values}
    return {"latency_ms": values["latency"].sum(axis=0) / passes * 1e3, **means}


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.float32 if values.dtype.kind == "f" else np.int32)
