"""The site as a reader sees it: it is built without a warning, and its pages keep nobody out, wide and narrow."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.browser import NARROW, WIDE, browser, keep, needs_browser, serious, until, watched
from support.sequence import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.browser, needs_browser, pytest.mark.xdist_group("site")]
PAGES = (
    "index.html",
    "tutorials/first-hour.html",
    "notebooks/first-steps.html",
    "reference/options.html",
    "reference/api/system.html",
    "explanation/optimum.html",
)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with one notebook: another test runs them all."""
    pytest.importorskip("furo", reason="the site needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", "docs", str(folder)],
        cwd=ROOT,
        env=os.environ | {"WDMOE_NOTEBOOKS": "first-steps"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def home(site: Path) -> Iterator[str]:
    """Address of the site, served as a host of static files would."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "docs" / "check_links.py", site], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_pages_keep_nobody_out_and_fit_the_window(home: str, tmp_path: Path) -> None:
    with browser() as chromium:
        for size in (WIDE, NARROW):
            for name in PAGES:
                with watched(chromium, size, home) as page:
                    page.goto(home + name, wait_until="load")
                    assert serious(page) == [], name
                    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], name


def test_the_search_finds_a_key(home: str, tmp_path: Path) -> None:
    with browser() as chromium, watched(chromium, WIDE, home) as page:
        page.goto(f"{home}search.html?q=mass_floor", wait_until="load")
        # Results come one by one.
        until(page, "document.querySelector('#search-results').innerText.includes('Keys of a scenario')")
        keep(page, "site-search", tmp_path)
