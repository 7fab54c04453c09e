from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from evaluation.comparison import Comparison, compare
from evaluation.contenders import find_contenders
from evaluation.plan import Plan
from wdmoe_env import Scenario, load_scenario


@pytest.fixture(scope="session")
def tiny() -> Scenario:
    return load_scenario("paper", name="tiny", model={"layers": 2}, traffic={"tokens": 8}, gating={"bank_passes": 4})


@pytest.fixture(scope="session")
def tiny_file(tiny: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenario") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny.model_dump(mode="json")))
    return path


@pytest.fixture(scope="session")
def plan() -> Plan:
    return Plan(episodes=5, seed=3, decisions=8)


@pytest.fixture(scope="session")
def comparison(tiny: Scenario, plan: Plan) -> Comparison:
    return compare(tiny, find_contenders(["top-k", "top-k+bandwidth", "random"]), plan)
