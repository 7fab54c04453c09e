"""Which features matter: those that a policy uses, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import features

from agents.warm_start import imitation
from wdmoe_env import Scenario
from wdmoe_env.envs.features import FEATURES
from wdmoe_env.system.selection import PRICE_LEVELS


class OneColumn:
    """Asks for prices by one column of the table, and looks at no other."""

    name = "one-column"

    def __init__(self, scenario: Scenario, column: str) -> None:
        self.scenario, self._column = scenario, list(FEATURES).index(column)

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        assert scenario == self.scenario

    def act(self, table: np.ndarray) -> np.ndarray:
        return np.clip(2.0 * table[:, :, self._column], -1.0, 1.0)


def rows(scenario: Scenario, column: str, **options: object) -> dict[str, features.Row]:
    policy, chosen = OneColumn(scenario, column), features.Options(Path("unused"), episodes=16, **options)
    return {row.features: row for row in features.measure(policy, chosen)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "group"), [("token_time", "token_time"), (f"lost_{PRICE_LEVELS[-1]}", "lost_*"), ("depth", "depth")]
)
def test_only_what_is_used_matters(tiny: Scenario, column: str, group: str) -> None:
    found = rows(tiny, column)
    assert list(found) == [features.ALL, *features.groups()]
    assert {name for name, row in found.items() if row.drop != 0.0} == {group}
    assert json.loads(json.dumps([vars(row) for row in found.values()]))


def test_another_cells_channel_costs_reward(tiny: Scenario) -> None:
    found = rows(tiny, "token_time")
    row, undisturbed = found["token_time"], found[features.ALL]
    assert row.drop_ci95[0] > 0.0
    assert row.drop == pytest.approx(undisturbed.reward - row.reward)
    assert row.drop_share == pytest.approx(row.drop / undisturbed.reward)
    assert row.error is None


def test_each_column_is_in_one_group() -> None:
    assert sorted(column for columns in features.groups().values() for column in columns) == list(range(len(FEATURES)))
    assert features.groups()["lost_*"] == [i for i, name in enumerate(FEATURES) if name.startswith("lost_")]


@pytest.mark.slow
def test_imitation_without_a_column(tiny: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CELLS": 16, "BATCH": 64, "UPDATES": 3}.items():
        monkeypatch.setattr(imitation, name, value)
    few = {name: features.groups()[name] for name in ("token_time", "load", "slower_on_average")}
    monkeypatch.setattr(features, "groups", lambda _: few)
    found = rows(tiny, "token_time", retrain=True, retrain_steps=4)
    known = found[features.ALL].error
    # Always 0 in this scenario. They come after others, which must have left the samples and the network as they were.
    assert found["load"].error == found["slower_on_average"].error == known
    assert found["token_time"].error not in (None, known)


def test_columns_of_experts_have_groups_of_their_own() -> None:
    of_experts = features.groups("expert")
    assert list(of_experts)[: len(features.groups())] == list(features.groups())
    assert {"expert_lost_*", "expert_dropped_*", "opening"} <= of_experts.keys()
    assert len(of_experts["expert_lost_*"]) == len(PRICE_LEVELS)
