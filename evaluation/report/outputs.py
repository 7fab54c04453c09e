"""The files of a comparison: summary.json, episodes.parquet, plots, figures.json and report.html."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from evaluation.comparison import Comparison
from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.live import Live
from evaluation.report import html, plots, summary
from evaluation.report.interactive import build
from evaluation.report.plots import Plot
from wdmoe_env import Scenario
from wdmoe_env.files.atomic import fresh_folder, write_bytes, write_text
from wdmoe_env.files.lock import lock_of, locked
from wdmoe_env.files.safe import StorageError, read_json
from wdmoe_env.texts import Language, load_texts

SUMMARY = "summary.json"
EPISODES = "episodes.parquet"
REPORT = "report.html"
FIGURES = "figures.json"
"""The report's figures alone, for whoever shows them elsewhere."""
DEFAULT = Path("results")


@contextmanager
def prepared(out: Path | None, overwrite: bool) -> Iterator[Path]:
    """Make the directory, hold it, and see that it can be written to, before anything long starts.

    Without a name it is results/<time>, or a name beside that where it is taken.

    Raises:
        EvaluationError: it holds a summary already, another process writes there, or it cannot be written to.
    """
    with ExitStack() as stack:
        try:
            if out is None:
                out = stack.enter_context(
                    fresh_folder(DEFAULT / datetime.now(timezone.utc).strftime("%Y-%m-%d-%H%M%S"))
                )
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(out / SUMMARY))
            if (out / SUMMARY).exists() and not overwrite:
                raise EvaluationError(f"{out} already holds a {SUMMARY}: choose another --out, or pass --overwrite")
            with tempfile.TemporaryFile(dir=out):
                pass
        except StorageError as error:
            raise EvaluationError(str(error)) from error
        except OSError as error:
            raise EvaluationError(f"cannot write to --out {out or DEFAULT}: {error.strerror or error}") from error
        # While it is held: whoever comes later finds the summary.
        stack.callback(lock_of(out / SUMMARY).unlink, missing_ok=True)
        yield out


def _clear(out: Path) -> None:
    """Remove what an earlier comparison wrote, its summary first: what is left of both would be of neither."""
    try:
        scenarios = [*read_json(out / SUMMARY)["scenarios"]]
    except (StorageError, LookupError, TypeError):
        scenarios = []
    drawn = [out / f"{plots.name_of(scenario, draw)}.png" for scenario in scenarios for draw in plots.DRAWN]
    for file in (out / SUMMARY, out / REPORT, out / FIGURES, out / EPISODES, *drawn):
        file.unlink(missing_ok=True)


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


def write(
    comparisons: Sequence[Comparison], made: summary.Summary, out: Path, language: Language = "en"
) -> dict[str, list[Plot]]:
    """Write all files in the place of those that are there; returns the plots.

    The summary comes last, so that a directory which has one is complete; data come before pictures.

    Raises:
        EvaluationError: a file could not be written.
    """
    try:
        _clear(out)
        table = io.BytesIO()
        summary.episode_table(comparisons).write_parquet(table)
        write_bytes(out / EPISODES, table.getvalue())
        drawn = {comparison.scenario.name: plots.draw_all(comparison, out) for comparison in comparisons}
        words = load_texts(html.TEXTS, language)
        figures = {comparison.scenario.name: build(comparison, words) for comparison in comparisons}
        kept = {name: [asdict(one) for one in drawn] for name, drawn in figures.items()}
        write_text(out / FIGURES, json.dumps(kept, separators=(",", ":"), allow_nan=False))
        write_text(out / REPORT, html.render(comparisons, figures, made, language))
        write_text(out / SUMMARY, f"{summary.dumps(made)}\n")
    except OSError as error:
        raise EvaluationError(f"cannot write the results to {out}: {error.strerror or error}") from error
    return drawn
