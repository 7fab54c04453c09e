"""Run policies on held-out episodes, so that all of them meet the same channels and gate weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import blaming
from evaluation.plan import Plan
from evaluation.sampling import SampledSteps, Sampler, join
from evaluation.timing import time_decisions
from wdmoe_env import Observation, Outcome, Policy, Scenario, Simulator
from wdmoe_env.interface import FloatArray
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
        episodes: (episodes,) of each metric in `EPISODE_METRICS`.
        chunk: (episodes,) index of the chunk that each episode was run in.
        passes: (episodes,) first forward pass of the held-out bank that each episode replays.
        slowest: (U,) share of layers in which each device is the one that is waited for. Devices that finish together
            share the layer: an exact split of the band lets all finish at once, and then rounding alone names one.
        decision_us: (decisions,) microseconds of a decision for one environment.
        sampled: the plan's sample of steps; None where it has none.
    """

    steps: Mapping[str, NDArray[Any]]
    episodes: Mapping[str, FloatArray]
    chunk: NDArray[np.int64]
    passes: NDArray[np.int64]
    slowest: FloatArray
    decision_us: FloatArray
    sampled: SampledSteps | None = None


@dataclass(frozen=True, slots=True)
class _Chunk:
    """(steps, N) values of each metric, (U,) how often each device is last, (N,) first passes, and sampled steps."""

    values: dict[str, NDArray[Any]]
    slowest: FloatArray
    passes: NDArray[np.int64]
    sampled: list[SampledSteps]


def run_policy(
    policy: Policy, scenario: Scenario, plan: Plan, *, name: str | None = None, tick: Callable[[], None] | None = None
) -> PolicyRun:
    """Run `policy` in every episode of the plan, then time single decisions.

    Args:
        policy: what decides; it is reset before each chunk.
        scenario: what is simulated.
        plan: which episodes.
        name: what errors call the policy; its own name by default.
        tick: called after each decision, for a progress bar.

    Raises:
        EvaluationError: a decision is invalid or a metric is not finite; names the policy, the scenario and the step.
    """
    label, tick = name or policy.name, tick or _nothing
    chunks: list[_Chunk] = []
    sizes: list[int] = []
    step, episode = plan.sample(scenario)
    for seed, size in plan.chunks(scenario):
        start, simulator = sum(sizes), Simulator(scenario, size, split="test")
        here = (start <= episode) & (episode < start + size)
        chunks.append(_run_chunk(policy, simulator, seed, Sampler(step[here], episode[here], start), label, tick))
        sizes.append(size)
    values = {key: np.concatenate([chunk.values[key] for chunk in chunks], axis=1) for key in SCHEMA}
    return PolicyRun(
        steps={key: _compact(value) for key, value in values.items()},
        episodes=_per_episode(values, scenario.traffic.passes_per_episode),
        chunk=np.repeat(np.arange(len(sizes)), sizes),
        passes=np.concatenate([chunk.passes for chunk in chunks]),
        slowest=np.average([chunk.slowest for chunk in chunks], axis=0, weights=sizes),
        decision_us=time_decisions(policy, scenario, plan, name=label, tick=tick),
        sampled=join([steps for chunk in chunks for steps in chunk.sampled]),
    )


def _nothing() -> None:
    """Do nothing."""


def _run_chunk(
    policy: Policy, simulator: Simulator, seed: int, sampler: Sampler, name: str, tick: Callable[[], None]
) -> _Chunk:
    """Run an episode in every environment."""
    scenario = simulator.scenario
    policy.reset(scenario, simulator.num_envs)
    observation = simulator.reset(seed)
    passes = simulator.passes.copy()
    outcomes, slowest = [], np.zeros(scenario.num_devices)
    for step in range(scenario.steps_per_episode):
        sampler.before(simulator)
        outcome = _step(policy, simulator, observation, name, step)
        sampler.after(outcome, step)
        outcomes.append(outcome.metrics)
        observation = outcome.observation
        slowest += _slowest(observation.last_device_time) / scenario.steps_per_episode
        tick()
    values = {key: np.stack([metrics[key] for metrics in outcomes]) for key in SCHEMA}
    return _Chunk(values, slowest, passes, sampler.kept())


def _slowest(device_time: FloatArray) -> FloatArray:
    """(U,) share of environments in which each device finishes last, from (N, U) times; ties are shared."""
    last = device_time >= device_time.max(axis=-1, keepdims=True) * (1.0 - _TOGETHER)
    shares: FloatArray = (last / last.sum(axis=-1, keepdims=True)).mean(axis=0)
    return shares


def _step(policy: Policy, simulator: Simulator, observation: Observation, name: str, step: int) -> Outcome:
    decision = policy.decide(observation)
    with blaming(name, simulator.scenario, step):
        outcome = simulator.step(decision)
        for key in SCHEMA:
            if not np.isfinite(outcome.metrics[key]).all():
                raise ValueError(f"metric {key!r} is not finite")
    return outcome


def _per_episode(values: Mapping[str, NDArray[Any]], passes: int) -> dict[str, FloatArray]:
    means = {key: values[key].mean(axis=0) for key in EPISODE_METRICS if key in values}
    return {"latency_ms": values["latency"].sum(axis=0) / passes * 1e3, **means}


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.float32 if values.dtype.kind == "f" else np.int32)
