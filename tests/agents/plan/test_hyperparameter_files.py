"""Files of hyperparameters: which section a scenario takes, and that nothing in a file goes unnoticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.plan import compatibility, hyperparameters
from agents.plan.compatibility import encodings, scenario_difference
from agents.plan.hyperparameters import Algorithm, section_of, told_section
from wdmoe_env import load_scenario
from wdmoe_env.envs.codecs import action_codec


def resolved(algorithm: Algorithm, *arguments: Any, **overrides: Any) -> dict[str, Any]:
    return hyperparameters.hyperparameters(algorithm, *arguments, **overrides)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Change ppo.yaml, and return the message that reading it then brings."""
    original = yaml.safe_load((hyperparameters.FOLDER / "ppo.yaml").read_text())
    monkeypatch.setattr(hyperparameters, "FOLDER", tmp_path)

    def message(text: str | None = None, **changes: Any) -> str:
        (tmp_path / "ppo.yaml").write_text(text or yaml.safe_dump({**original, **changes}, sort_keys=False))
        with pytest.raises(ValueError) as caught:
            resolved("ppo", "paper")
        assert str(tmp_path / "ppo.yaml") in str(caught.value)
        return str(caught.value)

    message.scenarios = original["scenarios"]  # type: ignore[attr-defined]
    message.default = original["default"]  # type: ignore[attr-defined]
    return message


@pytest.mark.parametrize("name", ["warm_start", "default", "scenarios"])
def test_no_name_of_a_scenario_is_taken_for_another_section(name: str) -> None:
    scenario = load_scenario("mobile", name=name)
    assert section_of("ppo", scenario) is None
    assert resolved("ppo", None) == {**resolved("ppo", None), "gamma": 0.9, "learning_rate": 3e-3}


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_a_copy_under_another_name_keeps_the_hyperparameters_of_the_preset_it_is_based_on(algorithm: Algorithm) -> None:
    copy = load_scenario("mobile", name="mine", based_on="mobile")
    assert section_of(algorithm, copy) == "mobile"
    assert resolved(algorithm, section_of(algorithm, copy))["gamma"] == 0.0
    assert section_of(algorithm, load_scenario("mobile", name="mine")) is None
    assert section_of(algorithm, load_scenario("mobile", based_on="paper")) == "mobile"


def test_what_a_scenario_is_based_on_makes_it_no_other_scenario() -> None:
    assert scenario_difference(load_scenario("mobile"), load_scenario("mobile", name="a", based_on="mobile")) is None


def test_a_warm_start_goes_over_the_scenario() -> None:
    assert resolved("ppo", "mobile", "price")["learning_rate"] == 5e-4
    assert resolved("ppo", "mobile", "price")["rollout"] == 16384
    assert resolved("ppo", "mobile", "price", learning_rate=1e-3)["learning_rate"] == 1e-3


def test_an_unknown_section_is_refused() -> None:
    with pytest.raises(ValueError, match="section is 'papr', expected one of paper, mobile"):
        resolved("ppo", "papr")


def test_a_file_is_checked_as_a_whole(table: Any) -> None:
    others = {name: values for name, values in table.scenarios.items() if name != "mobile"}
    assert "has the sections default, warm_start, scenarios, warmstart, expected default, " in table(warmstart={})
    assert "has no section 'mobile' under scenarios" in table(scenarios={**others, "mobil": {}})
    words = "section scenarios.mobile: unknown hyperparameter 'gama' of ppo, expected one of width"
    assert words in table(scenarios={**others, "mobile": {"gama": 0.0}})
    assert "section warm_start: hyperparameter width is 0, expected a whole number from 1" in table(
        warm_start={"width": 0}
    )
    assert "section scenarios.mine: greedy_baseline is 1 and gamma is 0.9" in table(
        scenarios={**table.scenarios, "mine": {"greedy_baseline": 1}}
    )
    assert "section scenarios.mobile is None, expected a mapping" in table(scenarios={**others, "mobile": None})
    default = {name: value for name, value in table.default.items() if name != "gamma"}
    assert "section default: hyperparameter gamma is missing" in table(default=default)


def test_a_key_that_stands_twice_is_refused(table: Any) -> None:
    assert "key 'width' stands twice" in table("default:\n  width: 1\n  width: 2\n")


@pytest.mark.parametrize("bandwidth", ["optimal", "learned", "residual"])
def test_encodings_are_those_of_the_codec_and_load_no_scenario(bandwidth: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = load_scenario("jetson", bandwidth=bandwidth)

    def refuse(*_: Any) -> None:
        raise AssertionError("a scenario was loaded")

    monkeypatch.setattr(compatibility, "load_scenario", refuse)
    (actions,) = action_codec("price", scenario).space.shape or ()
    assert encodings(scenario)["action_kinds"] * scenario.num_devices == actions


def test_a_scenario_without_a_section_is_told_once_the_run_starts() -> None:
    mine = load_scenario("mobile", name="mine")
    expected = "hyperparameters: section default of ppo.yaml, because scenario 'mine' has no section of its own"
    assert str(told_section("ppo", mine)).startswith(expected)
    assert told_section("ppo", load_scenario("mobile", name="mine", based_on="mobile")) is None
    assert told_section("sac", load_scenario("mobile")) is None
