"""What the panes of results, training runs and recordings show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from evaluation.report.interactive import curves
from explorer.figures.recording import devices_figure, layers_figure, read_recording
from explorer.figures.style import Figure
from explorer.library import Kind, Library
from explorer.view import View, ViewError, query
from wdmoe_env.files.safe import StorageError, read_json

KINDS: Final[dict[str, Kind]] = {"results": "results", "training": "run", "testbed": "testbed"}
"""What a pane opens."""
FIGURES: Final = "figures.json"
"""See `evaluation.report.outputs`; named here, as it loads what draws pictures."""
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
    path = library.path_of(KINDS[view.pane], view.item)
    if view.pane == "testbed":
        return _recording(path, view, texts)
    try:
        return _results(path) if view.pane == "results" else _training(path, texts)
    except (StorageError, ValueError) as error:
        raise ViewError(f"{view.item}: {error}") from error


def _results(path: Path) -> dict[str, Any]:
    """What `evaluate.py` drew, read back."""
    found = read_json(path / FIGURES)
    try:
        return _shown(found)
    except (LookupError, TypeError, ValueError) as error:
        raise ViewError(f"{path.name}/{FIGURES} is none of evaluate.py's: {type(error).__name__} {error}") from error


def _shown(found: Mapping[str, Any]) -> dict[str, Any]:
    headings, figures = list[dict[str, str]](), dict[str, Figure]()
    for number, (scenario, drawn) in enumerate(found.items()):
        for one in drawn:
            place = f"figure-{number}-{len(figures)}"
            headings.append({"id": place, "title": f"{scenario}: {one['title']}", "said": str(one["caption"])})
            figures[place] = {"data": list(one["figure"]["data"]), "layout": dict(one["figure"]["layout"])}
    return {"headings": headings, "figures": figures, "policies": _policies(figures)}


def _policies(figures: Mapping[str, Figure]) -> list[str]:
    """Policies that figures show, for their switches."""
    named = [trace["meta"]["policy"] for figure in figures.values() for trace in figure["data"] if "meta" in trace]
    return list(dict.fromkeys(named))


def _training(path: Path, texts: Texts) -> dict[str, Any]:
    figures = {"curve": curves([path], texts)}
    heading = {"id": "curve", "title": texts["training_title"], "said": texts["training_said"]}
    return {"headings": [heading], "figures": figures, "policies": []}


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
