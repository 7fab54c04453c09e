"""Mermaid's flow charts as lists of what goes where: drawing them takes a program that the site does not have."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from docutils import nodes

NODE: Final = r"(?P<{0}>\w+)(?:\[(?P<{0}_label>[^\]]*)\])?"
EDGE: Final = re.compile(
    rf"\s*{NODE.format('start')}\s*(?:--\s*\"?(?P<what>[^\"]*?)\"?\s*-->|-->)\s*{NODE.format('end')}(?P<rest>.*)"
)
LABEL: Final = re.compile(r"(\w+)\s?\[([^\]]*)\]")


class Flow(NamedTuple):
    """One arrow: what goes from where to where."""

    start: str
    end: str
    what: str


def flows(chart: str) -> list[Flow]:
    """The arrows of a flow chart in their order, by the labels of their ends."""
    labels = dict(LABEL.findall(chart))
    found = []
    for line in chart.splitlines():
        while edge := EDGE.match(line):
            start, end = (labels.get(edge[name], edge[name]) for name in ("start", "end"))
            found.append(Flow(start, end, edge["what"] or ""))
            line = f"{edge['end']} {edge['rest']}"
    return found


def _list(chart: str) -> nodes.bullet_list:
    made = nodes.bullet_list(classes=["flow"])
    for flow in flows(chart):
        words = [nodes.strong(text=flow.start), nodes.Text(" → "), nodes.strong(text=flow.end)]
        line = nodes.paragraph("", "", *words, nodes.Text(f": {flow.what}" if flow.what else ""))
        made += nodes.list_item("", line)
    return made


def _replace(app: Any, tree: nodes.document, name: str) -> None:
    del app, name
    for block in list(tree.findall(nodes.literal_block)):
        if block.get("language") == "mermaid":
            block.replace_self(_list(block.astext()))


def setup(app: Any) -> None:
    """Let every page have lists in the place of charts."""
    app.connect("doctree-resolved", _replace)
