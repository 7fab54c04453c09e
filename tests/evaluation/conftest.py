from __future__ import annotations

import pytest
from support.shared_fixtures import tiny, tiny_file  # noqa: F401 - fixtures

from evaluation.comparison import Comparison, compare
from evaluation.episodes.contenders import find_contenders
from evaluation.episodes.plan import Plan
from wdmoe_env import Scenario


@pytest.fixture(scope="session")
def plan() -> Plan:
    return Plan(episodes=5, seed=3, decisions=8, bound_steps=8)


@pytest.fixture(scope="session")
def comparison(tiny: Scenario, plan: Plan) -> Comparison:
    return compare(tiny, find_contenders(["top-k", "top-k+bandwidth", "random"]), plan)
