"""Kinds of one's own in a scenario: read, saved, compared, simulated, and refused where they are not registered."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from support.registries import own_registries  # noqa: F401 - a fixture
from support.toy import LINEAR, toy

from wdmoe_env import Scenario, Simulator, gating, load_scenario
from wdmoe_env.gating.bank import gate_bank
from wdmoe_env.scenario import scenario_from
from wdmoe_env.settings.devices import ComputeSettings, register
from wdmoe_env.system import channel

pytestmark = pytest.mark.usefixtures("own_registries")


class Tiered(ComputeSettings):
    kind: Literal["tiered"]
    seconds: tuple[float, ...] = (1e-3, 2e-3)

    def expert_time(self, model: Any, tokens: int) -> tuple[float, float]:
        return self.seconds[0], self.seconds[1] / tokens


class OneHot(gating.FamilySettings):
    kind: Literal["one-hot"]
    weight: float = 0.9
    fault: Literal["none", "shape", "sum", "negative", "nan"] = "none"

    def draw_passes(
        self, *, passes: int, layers: int, tokens: int, experts: int, top_k: int, rng: np.random.Generator
    ) -> Any:
        weights = np.full((passes, layers, experts, tokens), (1.0 - self.weight) / (experts - 1))
        best = rng.integers(experts, size=(passes, layers, 1, tokens))
        np.put_along_axis(weights, best, self.weight, axis=2)
        match self.fault:
            case "shape":
                return weights[:, :, 1:]
            case "sum":
                return weights * 1.01
            case "negative":
                return weights - 2.0 * weights * (weights < self.weight)
            case "nan":
                return weights * np.nan
        return weights


def flat(distance_m: Any, carrier_ghz: float, sight: Any) -> Any:
    return np.full_like(distance_m, 80.0)


@pytest.fixture
def own() -> Scenario:
    """A toy cell in which everything that can be one's own is."""
    register(Tiered)
    gating.register(OneHot)
    channel.register("flat", flat)
    return toy(
        devices=[{"name": "a", "count": 3, "compute": {"kind": "tiered", "seconds": [1e-3, 6e-3]}}],
        channel={"path_loss": "flat", "fading": {"kind": "none"}},
        gating={"family": {"kind": "one-hot", "weight": 0.8}},
    )


def test_a_scenario_of_own_kinds_is_simulated(own: Scenario) -> None:
    np.testing.assert_allclose(own.compute_model.fixed_s, 1e-3)
    np.testing.assert_allclose(own.compute_model.token_s, 1e-3)
    simulator = Simulator(own, 2)
    observation = simulator.reset(0)
    np.testing.assert_allclose(observation.gate_weights.max(axis=-1), 0.8, rtol=1e-6)
    np.testing.assert_allclose(simulator.cell.gain, 1e-8)


def test_it_is_saved_read_compared_and_pickled_as_any_other(own: Scenario) -> None:
    data = json.loads(json.dumps(own.model_dump(mode="json")))
    assert data["devices"][0]["compute"] == {"kind": "tiered", "seconds": [1e-3, 6e-3]}
    assert data["gating"]["family"] == {"kind": "one-hot", "weight": 0.8, "fault": "none"}
    assert scenario_from(data) == load_scenario(own) == pickle.loads(pickle.dumps(own)) == own
    assert hash(scenario_from(data)) == hash(own)
    assert load_scenario(own, gating={"family": {"kind": "one-hot", "weight": 0.7}}) != own


def test_where_the_kinds_are_not_registered_each_is_named(own: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    data = own.model_dump(mode="json")
    for registry, name in ((gating.FAMILIES, "one-hot"), (channel.PATH_LOSSES, "flat")):
        monkeypatch.delitem(registry._entries, name)  # type: ignore[attr-defined]
    with pytest.raises(ValueError) as caught:
        scenario_from(data)
    for words in ("gating.family: ", "gating family is 'one-hot'", "channel.path_loss: ", "'flat'", "--plugins"):
        assert words in str(caught.value)


def test_a_family_is_named_alone_where_its_settings_have_defaults() -> None:
    gating.register(OneHot)
    alone, mapping = (toy(gating={"family": family}) for family in ("one-hot", {"kind": "one-hot"}))
    assert alone == mapping
    assert alone.gating.family == OneHot(kind="one-hot")


def test_figures_of_ones_own_for_the_synthetic_generator() -> None:
    scenario = toy()
    gating.register(replace(gating.FAMILIES["uniform"], name="sharp", logit_scale=9.0))  # type: ignore[type-var]
    sharp = toy(gating={"family": "sharp"})
    assert toy(gating={"family": {"kind": "sharp"}}) == sharp
    most, before = (gate_bank(s.gating, s.model, 6, "train").weights.max(axis=1).mean() for s in (sharp, scenario))
    assert most > before + 0.1


def test_a_family_that_is_registered_anew_is_drawn_anew() -> None:
    family = gating.FAMILIES["uniform"]
    gating.register(replace(family, name="sharp", logit_scale=9.0))  # type: ignore[type-var]
    scenario = toy(gating={"family": "sharp"})
    before = gate_bank(scenario.gating, scenario.model, 6, "train").weights
    gating.FAMILIES._entries["sharp"] = replace(family, name="sharp", logit_scale=0.1)  # type: ignore[attr-defined,type-var]
    assert not np.allclose(gate_bank(scenario.gating, scenario.model, 6, "train").weights, before)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("shape", r"'one-hot' gives shape \(3, 2, 4, 6\), expected .* = \(3, 2, 5, 6\)"),
        ("sum", "sum to 1.01 to 1.01"),
        ("negative", "gives weights from -0"),
        ("nan", "gives weights from nan"),
    ],
)
def test_weights_that_are_none_are_refused(fault: str, message: str) -> None:
    gating.register(OneHot)
    with pytest.raises(ValueError, match=message):
        Simulator(toy(gating={"family": {"kind": "one-hot", "fault": fault}}))


@pytest.mark.parametrize("seconds", [[-1e-3, 1e-3], [1e-3, -1e-3]])
def test_times_that_are_none_are_refused(seconds: list[float]) -> None:
    register(Tiered)
    with pytest.raises(ValueError, match=r"devices\.0\.compute: kind 'tiered' takes .*, expected 0 to 1e"):
        toy(devices=[{"name": "a", "count": 3, "compute": {"kind": "tiered", "seconds": seconds}}])


@pytest.mark.parametrize("loss", [lambda d, f, s: d[:1], lambda d, f, s: d * np.nan, lambda d, f, s: 80.0])
def test_a_path_loss_that_is_none_is_refused(loss: Any) -> None:
    channel.register("odd", loss)
    with pytest.raises(ValueError, match=r"path loss 'odd' gives .*, expected finite numbers in shape \(2, 3\)"):
        Simulator(toy(channel={"path_loss": "odd"}), 2).reset(0)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"gating": {"family": {"kind": "mixtral", "scale": 2}}}, "'mixtral' has no settings, but 'scale' is given"),
        ({"gating": {"family": {"weight": 2}}}, "expected a mapping with kind, one of mixtral, olmoe, uniform"),
        ({"gating": {"family": 3}}, "gating.family: .*expected a mapping with kind"),
        ({"devices": [{"name": "a", "compute": {**LINEAR, "rate": 1}}]}, "devices.0.compute.rate: Extra inputs"),
        ({"devices": [{"name": "a", "compute": {"flops_per_s": 1.0}}]}, "devices.0.compute: .* with kind, one of lin"),
        ({"devices": [{"name": "a", "compute": "linear"}]}, r"devices\.0\.compute\.flops_per_s: Field required"),
    ],
)
def test_settings_of_a_kind_that_do_not_fit_are_named(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        toy(**overrides)


class Nameless(ComputeSettings):
    def expert_time(self, model: Any, tokens: int) -> tuple[float, float]:
        return 0.0, 0.0


def test_what_can_be_no_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"class Nameless has no field kind of one name, expected kind: Literal"):
        register(Nameless)
    with pytest.raises(TypeError, match="expected a subclass of ComputeSettings"):
        register(OneHot)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="expected a GatingFamily or a subclass of FamilySettings"):
        gating.register(Tiered)  # type: ignore[type-var]
