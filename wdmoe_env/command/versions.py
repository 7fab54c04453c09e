"""`wdmoe version`: what a report of a fault should name."""

from __future__ import annotations

from wdmoe_env.command.columns import columns
from wdmoe_env.files.provenance import git_revision, versions


def version_table() -> str:
    """A row for the project, its revision in a checkout, the platform, Python and the main libraries."""
    found = versions()
    rows = [("wdmoe-env", found.pop("wdmoe-env"))]
    if revision := git_revision():
        rows.append(("revision", revision))
    return columns([*rows, *found.items()])
