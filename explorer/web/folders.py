"""What the panes of results, training runs and recordings show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from explorer.figures.recording import devices_figure, layers_figure, read_recording
from explorer.figures.style import Figure
from explorer.library import Kind, Library
from explorer.view import View, ViewError, query
from wdmoe_env.files.safe import StorageError

KINDS: Final[dict[str, Kind]] = {"results": "results", "training": "run", "testbed": "testbed"}
"""What a pane opens."""
Texts = Mapping[str, str]


def items(view: View, library: Library) -> list[dict[str, str]]:
    """What can be opened in the pane of a view: name, and link."""
    found = library.items(KINDS[view.pane])
    return [{"name": item.name, "link": query(View(pane=view.pane, lang=view.lang, item=item.name))} for item in found]


def first_opened(view: View, library: Library) -> View:
    """The view, with the first thing that there is where it names none."""
    if view.item or not (found := library.items(KINDS[view.pane])):
        return view
    return replace(view, item=found[0].name)


def answer(view: View, library: Library, texts: Texts) -> dict[str, Any]:
    """Headings and figures of what is opened.

    Raises:
        ViewError: it is not there, or broken.
    """
    if view.pane not in KINDS:
        raise ViewError(f"pane is {view.pane!r}, expected one of {', '.join(KINDS)}")
    path = library.open(KINDS[view.pane], view.item)
    if view.pane == "testbed":
        return _recording(path, view, texts)
    try:
        found = _results(path, view) if view.pane == "results" else _training(path, view)
    except (StorageError, ValueError, OSError) as error:
        raise ViewError(f"{view.item}: {error}") from error
    headings = [{"id": f"figure-{number}", "title": name, "said": ""} for number, name in enumerate(found)]
    return {"headings": headings, "figures": {f"figure-{n}": figure for n, figure in enumerate(found.values())}}


def _results(path: Path, view: View) -> dict[str, Figure]:
    from evaluation.report.interactive import figures_of  # reads tables: only where it is needed

    return figures_of(path, view.lang)


def _training(path: Path, view: View) -> dict[str, Figure]:
    from evaluation.report.interactive import curves_of

    return curves_of([path], view.lang)


def _recording(path: Path, view: View, texts: Texts) -> dict[str, Any]:
    found = read_recording(path)
    which = found.layers.row(min(view.row, len(found.layers) - 1), named=True)
    return {
        "headings": [
            {"id": "layers", "title": texts["testbed_title"], "said": texts["testbed_said"]},
            {"id": "of-layer", "title": texts["testbed_devices"], "said": texts["devices_said"]},
        ],
        "figures": {"layers": layers_figure(found, texts), "of-layer": devices_figure(found, view.row, texts)},
        "rows": len(found.layers),
        "where": f"{which['policy']}, {which['episode']}/{which['step']}",
    }
