"""Log a comparison to Weights & Biases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from evaluation.comparison import LOOP_METRICS, METRICS, TESTBED_METRICS
from evaluation.episodes.errors import EvaluationError
from evaluation.report.outputs import EPISODES, REPORT, SUMMARY
from evaluation.report.plots import Plot
from evaluation.report.summary import Summary

Warn = Callable[[str], None]
WandbMode = Literal["disabled", "offline", "online"]


def upload(
    mode: WandbMode, project: str, summary: Summary, plots: Mapping[str, Sequence[Plot]], out: Path, warn: Warn
) -> str | None:
    """Log the table, every plot, every metric and the files; return the command that syncs an offline run.

    What fails once it has started is told to `warn`.

    Raises:
        EvaluationError: Weights & Biases does not start.
    """
    from agents.files import tracking

    try:
        run = tracking.start_run(
            mode, warn, project=project, config=summary["meta"], run_dir=out, job_type="evaluation", name=out.name
        )
    except tracking.TrackingError as error:
        raise EvaluationError(f"the results are in {out}, but were not logged: {error}") from error
    run.log(scalars(summary), step=0)
    run.table("eval/summary", *summary_rows(summary))
    run.images({f"eval/{plot.name}": plot.path for drawn in plots.values() for plot in drawn})
    for file, kind in ((SUMMARY, "evaluation"), (EPISODES, "episodes"), (REPORT, "report")):
        run.artifact(out / file, f"{kind}-{out.name}", kind)
    return run.finish()


def scalars(summary: Summary) -> dict[str, float]:
    """Every mean as eval/SCENARIO/POLICY/METRIC."""
    return {
        f"eval/{scenario}/{policy}/{metric}": metrics[metric]["mean"]
        for scenario, content in summary["scenarios"].items()
        for policy, metrics in content["policies"].items()
        for metric in (*METRICS, *LOOP_METRICS, *TESTBED_METRICS)
        if metric in metrics
    }


def summary_rows(summary: Summary) -> tuple[list[str], list[list[Any]]]:
    """Column names and one row for each scenario and policy: every metric's mean and the ends of its interval.

    None stands where a scenario has no bound.
    """
    shown = (*METRICS, *(LOOP_METRICS if "model" in summary["meta"] else ()))
    shown += TESTBED_METRICS if "testbed" in summary["meta"] else ()
    columns = ["scenario", "policy", *(f"{metric}{end}" for metric in shown for end in ("", "_low", "_high"))]
    rows = [
        [scenario, policy, *(value for name in shown for value in _ends(metrics.get(name)))]
        for scenario, content in summary["scenarios"].items()
        for policy, metrics in content["policies"].items()
    ]
    return columns, rows


def _ends(estimate: Mapping[str, Any] | None) -> tuple[float | None, ...]:
    return (None, None, None) if estimate is None else (estimate["mean"], *estimate["ci95"])
