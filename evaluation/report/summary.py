"""The summary of a comparison: the object that `summary.json` holds and `--json` prints."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from evaluation.comparison import LOOP_METRICS, METRICS, TESTBED_METRICS, Comparison, Result
from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.plan import Plan
from evaluation.estimates.statistics import Interval
from wdmoe_env.files.provenance import git_revision, versions

Summary = dict[str, Any]


def build(
    comparisons: Sequence[Comparison],
    plan: Plan,
    command: str,
    model: dict[str, Any] | None = None,
    testbed: dict[str, Any] | None = None,
) -> Summary:
    """Return `{"scenarios": {NAME: SCENARIO}, "meta": {...}}`.

    A SCENARIO is `{"policies": {POLICY: {METRIC: ESTIMATE}}, "optimality_ratio": {POLICY: {"ratio": x, "ci95": [low,
    high]}}, "improvement": {POLICY: {OTHER: {"probability": x, "ci95": [low, high]}}}, "reward_vs": {POLICY: {OTHER:
    {"change": x, "ci95": [low, high]}}}, "bound": BOUND}`, described at `evaluation.comparison.Result` and
    `evaluation.estimates.improvement.Pair`; pairs without a change are left out of `reward_vs`.
    An ESTIMATE is `{"mean": x, "ci95": [low, high], "iqm": x, "iqm_ci95": [low, high]}`, and METRIC one of
    `evaluation.comparison.METRICS`, or where a model reads of `LOOP_METRICS` there. Then `meta` has `model` too: the
    facts in `model`, which model and text these are, and the `streams` that were read in each scenario. On a testbed
    there are `TESTBED_METRICS`, too, and `meta` has `testbed`: which it is, and how it was emulated.
    BOUND is `{"steps": n, "reward": ESTIMATE, "latency_at_floor_ms": ESTIMATE, "frontier": {"retained_mass": [...],
    "latency_ms": [...]}, "states": "shared" | "per policy"}`, described at `evaluation.estimates.certified.Certified`;
    where none is known or asked for it is empty, so is `optimality_ratio`, and no policy has the metric `optimality`.

    Raises:
        EvaluationError: a number is not finite; names where it stands.
    """
    summary: Summary = {
        "scenarios": {comparison.scenario.name: _scenario(comparison) for comparison in comparisons},
        "meta": {
            "versions": versions(),
            "git": git_revision(),
            "seeds": {
                "seed": plan.seed,
                "episodes": plan.episodes,
                "timed_decisions": plan.decisions,
                "bound_steps": plan.bound_steps,
            },
            "command": command,
            "policies": {result.name: _origin(result) for result in comparisons[0].results},
            "configuration": {
                comparison.scenario.name: comparison.scenario.model_dump(mode="json") for comparison in comparisons
            },
        },
    }
    if model is not None:
        read = {one.scenario.name: one.reading.facts() for one in comparisons if one.reading is not None}
        summary["meta"]["model"] = {**model, "streams": read}
    if testbed is not None:
        summary["meta"]["testbed"] = testbed
    check_finite(summary)
    return summary


def check_finite(value: Any, place: str = "summary") -> None:
    """Raise an EvaluationError that names the place of the first number that is NaN or infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise EvaluationError(f"{place} is {value}, expected a finite number: nothing was written")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        check_finite(item, f"{place}.{key}")


def dumps(summary: Summary) -> str:
    """The summary as JSON text."""
    return json.dumps(summary, indent=2, allow_nan=False)


def episode_table(comparisons: Sequence[Comparison]) -> pl.DataFrame:
    """One row for each scenario, policy, run and episode, with every metric of the episode."""
    return pl.concat(
        [
            _episodes(comparison, result, run)
            for comparison in comparisons
            for result in comparison.results
            for run in range(len(result.runs))
        ]
    )


def _scenario(comparison: Comparison) -> dict[str, Any]:
    policies = {
        result.name: {
            name: result.estimates[name].as_dict()
            for name in (*METRICS, *LOOP_METRICS, *TESTBED_METRICS)
            if name in result.estimates
        }
        for result in comparison.results
    }
    return {
        "policies": policies,
        "optimality_ratio": {
            result.name: _interval("ratio", result.optimality_ratio)
            for result in comparison.results
            if result.optimality_ratio is not None
        },
        "improvement": _nested(comparison, "probability"),
        "reward_vs": _nested(comparison, "change"),
        "bound": comparison.bound.as_dict() if comparison.bound else {},
    }


def _nested(comparison: Comparison, name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for pair in comparison.pairs:
        interval = getattr(pair, name)
        if interval is not None:
            found.setdefault(pair.policy, {})[pair.other] = _interval(name, interval)
    return found


def _interval(name: str, interval: Interval) -> dict[str, Any]:
    return {name: interval.value, "ci95": [interval.low, interval.high]}


def _origin(result: Result) -> dict[str, Any]:
    who = result.contender
    return {"source": who.source, "trained": who.trained, "runs": [str(path) for path in who.run_dirs]}


def _episodes(comparison: Comparison, result: Result, index: int) -> pl.DataFrame:
    run, reading = result.runs[index], comparison.reading
    count = len(run.chunk)
    labels = {"scenario": [comparison.scenario.name] * count, "policy": [result.name] * count, "run": [index] * count}
    origin = {"first_pass": run.clusters}
    ratios = {"latency_vs_top_k": result.ratio[index]}
    if reading is not None:
        origin = {"document": reading.streams.document, "stream_bytes": reading.streams.bytes}
        ratios["bits_vs_top_k"] = result.bits_ratio[index]
    numbers = {"chunk": run.chunk, **origin, "episode": range(count), **run.episodes, **ratios}
    return pl.DataFrame({**labels, **numbers})
