"""A comparison: every contender in one scenario, beside the reference that latencies are related to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.contenders import REFERENCE, Contender, make_baseline
from evaluation.plan import Plan
from evaluation.runner import EPISODE_METRICS, PolicyRun, run_policy
from evaluation.statistics import Estimate, estimate, paired_ratio
from wdmoe_env import Scenario
from wdmoe_env.interface import FloatArray

METRICS = (*EPISODE_METRICS, "decision_us", "latency_vs_top_k")
"""What is estimated for each contender."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one contender did.

    Attributes:
        contender: who.
        runs: one for each of its policies, all over the same episodes.
        ratio: (episodes,) for each run, the latency of the forward pass over plain top-K's in the same episode.
        estimates: of each name in `METRICS`.
    """

    contender: Contender
    runs: tuple[PolicyRun, ...]
    ratio: tuple[FloatArray, ...]
    estimates: dict[str, Estimate]

    @property
    def name(self) -> str:
        """What tables and plots call it."""
        return self.contender.name


@dataclass(frozen=True, slots=True)
class Comparison:
    """All contenders in one scenario."""

    scenario: Scenario
    results: tuple[Result, ...]


def compare(
    scenario: Scenario, contenders: Sequence[Contender], plan: Plan, tick: Callable[[str], None] | None = None
) -> Comparison:
    """Run every contender in the same episodes of `scenario`; plain top-K runs as the reference even if not asked for.

    Args:
        scenario: what is simulated.
        contenders: who is compared.
        plan: which episodes.
        tick: called with the contender's name after each of its decisions.
    """

    def run(contender: Contender) -> tuple[PolicyRun, ...]:
        report = None if tick is None else lambda: tick(contender.name)
        return tuple(
            run_policy(policy, scenario, plan, name=contender.name, tick=report) for policy in contender.policies
        )

    runs = {contender.name: run(contender) for contender in contenders}
    asked = next((runs[contender.name] for contender in contenders if contender.source == REFERENCE), None)
    plain = (asked or run(_reference()))[0].episodes["latency_ms"]
    return Comparison(scenario, tuple(_result(contender, runs[contender.name], plain) for contender in contenders))


def num_decisions(scenario: Scenario, contenders: Sequence[Contender], plan: Plan) -> int:
    """Decisions that `compare` will ask for, for a progress bar."""
    asked = any(contender.source == REFERENCE for contender in contenders)
    return (sum(len(contender.policies) for contender in contenders) + (not asked)) * plan.num_steps(scenario)


def _reference() -> Contender:
    return Contender(REFERENCE, REFERENCE, (make_baseline(REFERENCE),))


def _result(contender: Contender, runs: tuple[PolicyRun, ...], plain: FloatArray) -> Result:
    ratio = tuple(paired_ratio(run.episodes["latency_ms"], plain) for run in runs)
    passes = runs[0].passes
    estimates = {name: estimate([run.episodes[name] for run in runs], clusters=passes) for name in EPISODE_METRICS}
    estimates["decision_us"] = estimate([run.decision_us for run in runs], shared=False)
    estimates["latency_vs_top_k"] = estimate(ratio, clusters=passes)
    return Result(contender, runs, ratio, estimates)
