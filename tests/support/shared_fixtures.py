"""Fixtures that the tests of several packages import."""

from pathlib import Path

import pytest
import yaml

from wdmoe_env import Scenario, load_scenario


@pytest.fixture(scope="session")
def tiny() -> Scenario:
    return load_scenario("paper", name="tiny", model={"layers": 2}, traffic={"tokens": 8}, gating={"bank_passes": 4})


@pytest.fixture(scope="session")
def tiny_file(tiny: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenario") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny.model_dump(mode="json")))
    return path
