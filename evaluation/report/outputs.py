"""The files of a comparison: summary.json, episodes.parquet, plots and report.html."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evaluation.comparison import Comparison
from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.live import Live
from evaluation.report import html, plots, summary
from evaluation.report.plots import Plot
from wdmoe_env import Scenario
from wdmoe_env.files.atomic import write_bytes, write_text

SUMMARY = "summary.json"
EPISODES = "episodes.parquet"
REPORT = "report.html"


def prepare(out: Path, overwrite: bool) -> None:
    """Make the directory and see that it can be written to, before anything long starts.

    Raises:
        EvaluationError: it holds a summary already, or cannot be written to.
    """
    if (out / SUMMARY).exists() and not overwrite:
        raise EvaluationError(f"{out} already holds a {SUMMARY}: choose another --out, or pass --overwrite")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise EvaluationError(f"cannot write to --out {out}: {error.strerror or error}") from error


def write_live(live: Live, scenario: Scenario, out: Path) -> None:
    """Write what a testbed recorded: layers, calls, measurements and links.

    Raises:
        EvaluationError: a file could not be written.
    """
    from wdmoe_env.testbed.records import write_records

    try:
        write_records(out, live.episodes, scenario)
    except OSError as error:
        raise EvaluationError(f"cannot write the records to {out}: {error.strerror or error}") from error


def write(comparisons: Sequence[Comparison], made: summary.Summary, out: Path) -> dict[str, list[Plot]]:
    """Write all files; the summary comes last, so that a directory which has one is complete. Returns the plots.

    Raises:
        EvaluationError: a file could not be written.
    """
    try:
        drawn = {comparison.scenario.name: plots.draw_all(comparison, out) for comparison in comparisons}
        table = io.BytesIO()
        summary.episode_table(comparisons).write_parquet(table)
        write_bytes(out / EPISODES, table.getvalue())
        write_text(out / REPORT, html.render(comparisons, drawn, made))
        write_text(out / SUMMARY, f"{summary.dumps(made)}\n")
    except OSError as error:
        raise EvaluationError(f"cannot write the results to {out}: {error.strerror or error}") from error
    return drawn
