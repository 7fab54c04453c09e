"""Registries as they come with the project, whatever a test registers."""

import pytest

import baselines
from wdmoe_env.envs.codecs import ACTIONS, OBSERVATIONS
from wdmoe_env.settings.devices import COMPUTE
from wdmoe_env.settings.parts import FAMILIES, PATH_LOSSES


@pytest.fixture
def own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget at the end of a test what it registered."""
    for registry in (baselines.BASELINES, ACTIONS, OBSERVATIONS, COMPUTE, FAMILIES, PATH_LOSSES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
