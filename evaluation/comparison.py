"""A comparison: every contender in one scenario, beside the reference that latencies are related to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from evaluation.episodes.contenders import REFERENCE, Contender, make_baseline
from evaluation.episodes.live import LIVE_METRICS
from evaluation.episodes.plan import Plan
from evaluation.episodes.reading import READING_METRICS, Reading
from evaluation.episodes.runner import EPISODE_METRICS, PolicyRun, run_policy
from evaluation.episodes.scattered import key_of, run_chunks
from evaluation.estimates.certified import Certified, certify
from evaluation.estimates.improvement import Pair, improvements
from evaluation.estimates.optimality import OptimalityEstimator, StepOptimality
from evaluation.estimates.statistics import Estimate, Interval, estimate, paired_ratio, ratio_of_means
from wdmoe_env import Scenario
from wdmoe_env.arrays import FloatArray
from wdmoe_env.workers.units import Pool

METRICS = (*EPISODE_METRICS, "decision_us", "latency_vs_top_k", "optimality")
"""What is estimated for each contender; `optimality` only where a bound on the reward is known and asked for."""
LOOP_METRICS = (*READING_METRICS, "bits_vs_top_k")
"""What is estimated besides where a real model reads; the last is paired with plain top-K's in the same stream."""
TESTBED_METRICS = (*LIVE_METRICS, "predicted_vs_top_k")
"""What is estimated besides on a testbed; the last as the simulator predicts it for both, paired."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one contender did.

    Attributes:
        contender: who.
        runs: one for each of its policies, all over the same episodes.
        ratio: (episodes,) for each run, the latency of the forward pass over plain top-K's in the same episode.
        optimality: the sampled steps of each run beside their bounds; empty where no bound is known or asked for.
        bits_ratio: (episodes,) for each run, bits per byte over plain top-K's of the same stream; empty if none reads.
        estimates: of each name in `METRICS`, in `LOOP_METRICS` where a model reads, in `TESTBED_METRICS` on a testbed.
        optimality_ratio: mean reward of the sampled steps as a share of the mean of the most that they could bring.
            `optimality` is the mean of the steps' shares, whatever a step can bring. None without a bound.
    """

    contender: Contender
    runs: tuple[PolicyRun, ...]
    ratio: tuple[FloatArray, ...]
    optimality: tuple[StepOptimality, ...]
    estimates: dict[str, Estimate]
    bits_ratio: tuple[FloatArray, ...] = ()
    optimality_ratio: Interval | None = None

    @property
    def name(self) -> str:
        """What tables and plots call it."""
        return self.contender.name


@dataclass(frozen=True, slots=True)
class Comparison:
    """All contenders in one scenario.

    Attributes:
        scenario: what was simulated.
        results: one for each contender.
        pairs: each of them against each other one.
        bound: what is proved about the scenario; None where no bound is known or asked for.
        reading: what a real model read in the episodes; None where there is none.
    """

    scenario: Scenario
    results: tuple[Result, ...]
    pairs: tuple[Pair, ...] = ()
    bound: Certified | None = None
    reading: Reading | None = None


def compare(
    scenario: Scenario,
    contenders: Sequence[Contender],
    plan: Plan,
    tick: Callable[[str], None] | None = None,
    reading: Reading | None = None,
    pool: Pool | None = None,
) -> Comparison:
    """Run every contender in the same episodes of `scenario`; plain top-K runs as the reference even if not asked for.

    Args:
        scenario: what is simulated.
        contenders: who is compared.
        plan: which episodes.
        tick: called with the contender's name after each of its decisions, and for each step that is judged.
        reading: a real model that reads in the episodes of the same plan.
        pool: where chunks of episodes are run, all of them before the first decision is timed, which is done here,
            alone. None: here, one policy after the other. No figure depends on it but the times of decisions.

    Raises:
        EvaluationError: a decision is invalid, a metric is not finite, or a step is better than what is proved.
    """
    tasks = _tasks(contenders, plan)
    chunks = {} if pool is None else run_chunks(scenario, tasks, pool, tick)
    estimator = OptimalityEstimator(scenario)

    def run(contender: Contender, plan: Plan) -> tuple[_Done, ...]:
        report = _nothing if tick is None else lambda: tick(contender.name)
        ready = partial(run_policy, scenario=scenario, plan=plan, name=contender.name, tick=report, reading=reading)
        runs = (ready(one, chunks=chunks.get(key_of(contender, i))) for i, one in enumerate(contender.policies))
        return tuple(_with_optimality(one, estimator, contender.name, report) for one in runs)

    done = [(contender, run(contender, its)) for contender, its in tasks]
    plain = next(runs for contender, runs in done if contender.source == REFERENCE)
    done = done[: len(contenders)]
    results = tuple(_result(contender, runs, plain[0][0]) for contender, runs in done)
    optimality = [one for result in results for one in result.optimality]
    return Comparison(
        scenario, results, _pairs(results), certify(scenario, optimality) if optimality else None, reading
    )


def num_decisions(scenario: Scenario, contenders: Sequence[Contender], plan: Plan) -> int:
    """How often `compare` calls `tick`: decisions that it asks for and steps that it judges."""
    asked = any(contender.source == REFERENCE for contender in contenders)
    runs, steps = sum(len(contender.policies) for contender in contenders), plan.num_steps(scenario)
    return runs * (steps + plan.num_sampled(scenario)) + (not asked) * steps


_Done = tuple[PolicyRun, StepOptimality | None]


def _nothing() -> None:
    """Do nothing."""


def _tasks(contenders: Sequence[Contender], plan: Plan) -> list[tuple[Contender, Plan]]:
    """Who runs in which episodes: all contenders, and plain top-K where it is not among them."""
    if any(contender.source == REFERENCE for contender in contenders):
        return [(contender, plan) for contender in contenders]
    return [*((contender, plan) for contender in contenders), (_reference(), replace(plan, bound_steps=0))]


def _reference() -> Contender:
    return Contender(REFERENCE, REFERENCE, (make_baseline(REFERENCE),))


def _with_optimality(run: PolicyRun, estimator: OptimalityEstimator, name: str, tick: Callable[[], None]) -> _Done:
    optimality = estimator.measure(run, name, tick)
    # Cells can be large, and once judged they are not needed any more.
    return replace(run, sampled=None), optimality


def _result(contender: Contender, done: Sequence[_Done], plain: PolicyRun) -> Result:
    runs = tuple(run for run, _ in done)
    optimality = tuple(one for _, one in done if one is not None)
    clusters, names = runs[0].clusters, list(runs[0].episodes)
    estimates = {name: estimate([run.episodes[name] for run in runs], clusters=clusters) for name in names}
    estimates["decision_us"] = estimate([run.decision_us for run in runs])
    ratio = _to_plain("latency_ms", runs, plain)
    estimates["latency_vs_top_k"] = estimate(ratio, clusters=clusters)
    bits = _to_plain("bits_per_byte", runs, plain) if "bits_per_byte" in names else ()
    if "predicted_ms" in names:
        estimates["predicted_vs_top_k"] = estimate(_to_plain("predicted_ms", runs, plain), clusters=clusters)
    if bits:
        estimates["bits_vs_top_k"] = estimate(bits, clusters=clusters)
    if not optimality:
        return Result(contender, runs, ratio, optimality, estimates, bits)
    estimates["optimality"] = estimate([one.share for one in optimality], clusters=optimality[0].clusters)
    reward, most = [one.share * one.bounds.reward for one in optimality], [one.bounds.reward for one in optimality]
    in_sum = ratio_of_means(reward, most, clusters=optimality[0].clusters)
    return Result(contender, runs, ratio, optimality, estimates, bits, in_sum)


def _to_plain(metric: str, runs: Sequence[PolicyRun], plain: PolicyRun) -> tuple[FloatArray, ...]:
    """(episodes,) for each run, a metric over plain top-K's in the same episode."""
    return tuple(paired_ratio(run.episodes[metric], plain.episodes[metric]) for run in runs)


def _pairs(results: Sequence[Result]) -> tuple[Pair, ...]:
    rewards = [[run.episodes["reward"] for run in result.runs] for result in results]
    return improvements([result.name for result in results], rewards, results[0].runs[0].clusters)
