"""Scenarios travel by content: where a file is not there, or holds something else, what travelled takes its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.shared_fixtures import tiny  # noqa: F401 - a fixture

from wdmoe_env import Scenario, load_scenario
from wdmoe_env.settings.paths import SHIPPED
from wdmoe_env.workers import carried as carrying
from wdmoe_env.workers.carried import carried


@pytest.fixture
def traced(tiny: Scenario, tmp_path: Path) -> tuple[Scenario, Path]:
    """A scenario that names a file of its own, and the file."""
    file = tmp_path / "wifi.csv"
    file.write_bytes((SHIPPED / "synthetic-wifi.csv").read_bytes())
    channel = {"trace": {"files": [str(file)]}}
    return load_scenario(load_scenario("jetson-wifi", gating={"bank_passes": 4}), channel=channel), file


def test_files_that_are_there_are_used_where_they_are(traced: tuple[Scenario, Path]) -> None:
    assert carried(traced[0], near=True).opened() == traced[0]
    assert carried(traced[0], near=True).files[0].content is None


def test_files_that_are_not_there_travel(traced: tuple[Scenario, Path]) -> None:
    scenario, file = traced
    packed, content = carried(scenario, near=False), file.read_bytes()
    file.unlink()
    carrying._opened.cache_clear()
    opened = packed.opened()
    assert opened.channel.trace is not None
    there = Path(opened.channel.trace.files[0])
    assert there != file
    assert there.read_bytes() == content
    with pytest.raises(ValueError, match=r"wifi.csv cannot be read"):
        carrying._content(str(file))


def test_what_stays_here_must_not_change(traced: tuple[Scenario, Path]) -> None:
    scenario, file = traced
    packed = carried(scenario, near=True)
    file.write_bytes(file.read_bytes() + b"\n")
    carrying._opened.cache_clear()
    with pytest.raises(ValueError, match=r"wifi.csv does not hold what it did"):
        packed.opened()
