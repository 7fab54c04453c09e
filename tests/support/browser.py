"""A browser that tests drive: Chromium, where there is one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PICTURES = os.environ.get("WDMOE_PICTURES")
"""Folder that screenshots of the documentation go to: `make pictures`."""
WIDE, NARROW = (1280, 900), (390, 844)

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, without a window and without its sandbox where that needs another user."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--font-render-hinting=none"]
        )
        yield chromium
        chromium.close()


@contextmanager
def watched(chromium: Any, size: tuple[int, int], home: str) -> Iterator[Any]:
    """A page of a size; afterwards it must have had no error on its console, and asked nobody but `home`."""
    page, faults = chromium.new_page(viewport={"width": size[0], "height": size[1]}), []
    page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda asked: faults.append(asked.url) if not asked.url.startswith((home, "data:", "blob:")) else None,
    )
    yield page
    page.close()
    assert faults == []


def until(page: Any, condition: str, seconds: float = 60.0) -> None:
    """Wait for a condition in JavaScript. The page's own policy forbids what Playwright's waiting evaluates."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"still not: {condition}"
        time.sleep(0.02)


def keep(page: Any, name: str, tmp_path: Path, **options: Any) -> Path:
    """Take a screenshot; for the documentation where it is asked for."""
    path = Path(PICTURES or tmp_path) / f"{name}.png"
    page.screenshot(path=path, **options)
    assert path.stat().st_size > 10_000
    return path


def serious(page: Any) -> list[str]:
    """What axe finds wrong for people who use the page otherwise, of the kinds that keep somebody out."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
