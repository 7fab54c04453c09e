"""How long the explorer takes for a step: to answer it, and to have it drawn in Chromium, where there is one.

The page steps through an episode of two policies that was run before, as it is when somebody plays or scrubs. `answer`
is the server alone, without a network; `drawn` is what the page itself measures, from the wish to the last figure.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Any, Final

from flask.testing import FlaskClient
from werkzeug.serving import make_server

from benchmarks import harness

from explorer.__main__ import LOOPBACK, Quiet
from explorer.library import Library
from explorer.view import View, query
from explorer.web.app import make_app
from wdmoe_env import load_scenario

COLUMNS: Final = "scenario", "steps", "answer, ms", "largest", "kB", "drawn, ms", "largest"
BROWSERS: Final = "chromium", "chromium-browser", "google-chrome"


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    scenarios: list[str] = field(default_factory=lambda: ["paper", "jetson", "cell-64"])
    """Presets."""
    policies: tuple[str, str] = ("wdmoe", "price")
    """Whose layers are shown side by side."""
    steps: int = 20
    """Steps at most; an episode may end before."""
    seed: int = 0
    """Seed of the episodes."""
    browser: bool = True
    """Draw them, too; without Playwright or Chromium the columns stay empty."""


@dataclass(frozen=True)
class Row:
    """What one scenario takes."""

    scenario: str
    steps: int
    answer_ms: float
    answer_largest_ms: float
    answer_kb: float
    drawn_ms: float | None
    drawn_largest_ms: float | None


def answers(client: FlaskClient, view: View, steps: int) -> tuple[list[float], float]:
    """Milliseconds of each answer, and kB of the last one; the episode is run before."""

    def ask(step: int) -> int:
        link = query(replace(view, step=step))
        return len(client.get(f"/draw{link}", base_url="http://localhost").data)

    ask(steps - 1)
    times, size = list[float](), 0
    for step in range(steps):
        start = time.perf_counter()
        size = ask(step)
        times.append(1e3 * (time.perf_counter() - start))
    return times, size / 1e3


def drawn(page: Any, home: str, view: View, steps: int) -> list[float]:
    """Milliseconds that the page takes for each step, once all else is done."""
    page.goto(f"{home}{query(view)}")
    _until(page, "window.explorer && explorer.drawn > 0 && !explorer.busy && explorer.done")
    times = []
    for step in range(1, steps):
        page.evaluate("moves.next()")
        _until(page, f"explorer.drawn > {step} && !explorer.busy")
        times.append(float(page.evaluate("explorer.lastMs")))
    return times


def _until(page: Any, condition: str) -> None:
    while not page.evaluate(condition):
        time.sleep(0.02)


@contextmanager
def opened(options: Options, app: Any) -> Iterator[tuple[Any, str] | None]:
    """A page and its address, or None where it cannot be drawn."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None or not options.browser:
        yield None
        return
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium.new_page(viewport={"width": 1280, "height": 900}), f"http://127.0.0.1:{server.server_port}/"
        chromium.close()
    server.shutdown()


def main(options: Options) -> None:
    app = make_app(Library(), View(), LOOPBACK)
    with harness.Report(options, COLUMNS) as report, opened(options, app) as browser:
        for scenario in options.scenarios:
            steps = min(options.steps, load_scenario(scenario).steps_per_episode)
            view = View(scenario=scenario, a=options.policies[0], b=options.policies[1], seed=options.seed)
            times, size = answers(app.test_client(), view, steps)
            shown = drawn(*browser, view, steps) if browser and steps > 1 else []
            row = Row(
                scenario, steps, statistics.median(times), max(times), size,
                statistics.median(shown) if shown else None, max(shown, default=None),
            )  # fmt: skip
            page = [f"{value:.0f}" if value is not None else "-" for value in (row.drawn_ms, row.drawn_largest_ms)]
            server = f"{row.answer_ms:.1f}", f"{row.answer_largest_ms:.1f}", f"{size:.0f}"
            report.add(row, [scenario, str(steps), *server, *page])


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
