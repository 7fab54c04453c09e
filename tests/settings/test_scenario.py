"""Scenarios: presets, overrides, files, and an error for every wrong setting that names culprit and expectation."""

import builtins
import io
import json
import math
import os
import pickle

import numpy as np
import pytest

from wdmoe_env import Scenario, Simulator, load_scenario, preset_names
from wdmoe_env.scenario import merge, scenario_from


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_under_their_name(name):
    scenario = load_scenario(name)
    assert scenario.name == name
    assert len(scenario.device_names) == scenario.num_devices == len(set(scenario.device_names))
    assert scenario.steps_per_episode == scenario.model.layers * scenario.traffic.passes_per_episode


def test_the_presets_are_there():
    names = ["cell-64", "decode", "jetson", "jetson-wifi", "many-experts", "mobile", "paper", "tiny-moe"]
    assert preset_names() == names


def test_what_is_small_in_decode_and_large_in_many_experts():
    jetson, decode, many = (load_scenario(name) for name in ("jetson", "decode", "many-experts"))
    for name in ("devices", "radio", "channel", "load", "reward"):
        assert getattr(decode, name) == getattr(many, name) == getattr(jetson, name)
    assert decode.model == jetson.model
    assert (decode.traffic.tokens, many.traffic.tokens) == (4, 16)
    assert (many.model.experts, many.model.top_k) == (64, 8)
    assert (np.bincount(many.hosts) == 8).all()


def test_the_paper_preset_is_what_the_docs_say():
    paper = load_scenario("paper")
    assert (paper.num_devices, paper.model.experts, paper.model.top_k, paper.model.layers) == (8, 8, 2, 32)
    assert (paper.radio.bandwidth_hz, paper.radio.bs_power_w, paper.radio.device_power_w) == (100e6, 10.0, 0.2)
    assert paper.model.expert_flops == pytest.approx(352e6, rel=2e-3)
    assert paper.model.payload_bits == 16 * 4096
    assert paper.radio_link.noise_w_per_hz == pytest.approx(10**-20.4)
    np.testing.assert_array_equal(paper.hosts, np.arange(8))


def test_overrides_merge_deeply():
    scenario = load_scenario("mobile", channel={"fading": {"diversity": 2}}, reward={"mass_floor": 0.9})
    original = load_scenario("mobile")
    assert scenario.channel.fading.diversity == 2
    assert scenario.channel.fading.evolution == original.channel.fading.evolution
    assert scenario.channel.shadowing == original.channel.shadowing
    assert scenario.reward.mass_floor == 0.9
    assert load_scenario(scenario, traffic={"tokens": 3}).reward.mass_floor == 0.9


def test_merge_leaves_its_arguments_alone():
    base, over = {"a": {"b": 1, "c": [1]}}, {"a": {"b": 2}, "d": 3}
    assert merge(base, over) == {"a": {"b": 2, "c": [1]}, "d": 3}
    assert base == {"a": {"b": 1, "c": [1]}}


@pytest.mark.parametrize("name", preset_names())
def test_a_dumped_scenario_loads_equal(name, tmp_path):
    scenario = load_scenario(name, bandwidth="learned")
    path = tmp_path / "again.yaml"
    path.write_text(json.dumps(scenario.model_dump(mode="json")))
    assert load_scenario(path) == scenario
    assert load_scenario(scenario) == scenario
    assert hash(load_scenario(scenario)) == hash(scenario)


@pytest.mark.parametrize("name", preset_names())
def test_scenarios_survive_pickling(name):
    scenario = load_scenario(name)
    assert scenario.compute_model.host.size  # worked out and kept before it is pickled
    again = pickle.loads(pickle.dumps(scenario))
    assert again == scenario
    np.testing.assert_array_equal(again.compute_model.token_s, scenario.compute_model.token_s)


def test_scenarios_are_equal_by_their_settings_alone():
    one, two = load_scenario("paper"), load_scenario("paper")
    assert one.compute_model is not two.compute_model  # arrays, kept in the objects
    assert one == two
    assert one != load_scenario("paper", bandwidth="learned")
    assert one != "paper"


def test_making_comparing_and_copying_read_no_file(monkeypatch, tmp_path):
    data = load_scenario("jetson").model_dump(mode="json")
    data["devices"][0]["compute"] = {"kind": "measured", "file": str(tmp_path / "gone.csv")}
    data["devices"][1]["compute"] = {"kind": "roofline", "board": "no-such-board"}
    data["channel"] |= {"trace": {"files": ["gone-too.csv"]}, "shadowing": {"std_db": 0.0}, "fading": {"kind": "none"}}
    data["gating"] = {"trace": "gone-as-well"}

    def refuse(*arguments, **options):
        raise AssertionError(f"opened {arguments}")

    with monkeypatch.context() as closed:
        for module, name in ((io, "open"), (os, "open"), (os, "stat"), (os, "scandir"), (builtins, "open")):
            closed.setattr(module, name, refuse)
        made = [scenario_from(data), scenario_from(json.loads(json.dumps(data)))]
        assert made[0] == made[1]
        assert made[0].model_copy(update={"name": "other"}) != made[0]
        assert hash(made[0]) == hash(made[1])
    with pytest.raises(ValueError) as caught:
        load_scenario(made[0])
    for words in (
        "devices.0.compute: no file",
        "devices.1.compute: board='no-such-board'",
        "channel.trace: no file 'gone-too.csv': tried",
        "gating.trace: no file 'gone-as-well': tried",
    ):
        assert words in str(caught.value)


GONE = {
    "measurements": ({"devices": [{"name": "a", "compute": {"kind": "measured", "file": "no.csv"}}]}, "devices.0.comp"),
    "board": ({"devices": [{"name": "a", "compute": {"kind": "roofline", "board": "no"}}]}, "devices.0.compute"),
    "radio logs": (
        {"channel": {"distance_m": {"low": 1, "high": 2}, "fading": {"kind": "none"}, "trace": {"files": ["no.csv"]}}},
        "channel.trace",
    ),
    "gate trace": ({"gating": {"trace": "no"}}, "no file 'no'"),
}


@pytest.mark.parametrize(("values", "words"), GONE.values(), ids=GONE)
def test_a_scenario_made_by_hand_tells_of_a_missing_file_when_it_is_simulated(values, words):
    data = load_scenario("paper").model_dump(mode="json") | values
    if "devices" in values:
        data["devices"][0]["count"] = 8
    with pytest.raises(ValueError, match=words):
        Simulator(scenario_from(data))


def test_a_copy_does_not_keep_what_followed_from_other_values():
    scenario = load_scenario("paper")
    assert scenario.compute_model.token_s[0] > 0
    equal = scenario.model_copy(update={"devices": scenario.devices[:1] * 4})
    np.testing.assert_array_equal(equal.compute_model.token_s, scenario.compute_model.token_s[0])
    assert scenario.radio_link.bandwidth_hz == 100e6
    narrow = scenario.model_copy(update={"radio": scenario.radio.model_copy(update={"bandwidth_hz": 1e6})})
    assert narrow.radio_link.bandwidth_hz == 1e6


def test_what_a_scenario_is_based_on_is_kept_and_must_be_a_preset(tmp_path):
    scenario = load_scenario("mobile", name="mine", based_on="mobile")
    assert load_scenario(scenario).based_on == "mobile"
    assert scenario_from(scenario.model_dump(mode="json")) == scenario
    with pytest.raises(ValueError, match="based_on is 'mobil', expected a preset, one of cell-64, decode"):
        load_scenario("mobile", based_on="mobil")


def test_scenarios_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_scenario("paper").bandwidth = "learned"


def device(**changes):
    return {"devices": [{"name": "a", "count": 8, "compute": {"kind": "linear", "flops_per_s": 1e12}} | changes]}


WRONG = {
    "unknown key": ({"bandwith": "optimal"}, ["bandwith", "not permitted"]),
    "unknown nested key": ({"channel": {"fading": {"kidn": "none"}}}, ["channel.fading.kidn", "not permitted"]),
    "unknown device key": (device(speed=1.0), ["devices.0.speed", "not permitted"]),
    "text for an integer": ({"model": {"experts": "8"}}, ["model.experts", "valid integer", "'8'"]),
    "truth for an integer": ({"traffic": {"tokens": True}}, ["traffic.tokens", "valid integer", "True"]),
    "fraction for an integer": ({"model": {"top_k": 1.5}}, ["model.top_k", "valid integer", "1.5"]),
    "text for a number": ({"radio": {"bandwidth_hz": "1e8"}}, ["radio.bandwidth_hz", "valid number", "'1e8'"]),
    "truth for a number": ({"reward": {"penalty": True}}, ["reward.penalty", "valid number", "True"]),
    "number for a text": ({"name": 3}, ["name", "valid string", "3"]),
    "nothing for a section": ({"model": None}, ["model", "None"]),
    "number for a section": ({"radio": 3}, ["radio", "3"]),
    "negative bandwidth": (
        {"radio": {"bandwidth_hz": -1.0}},
        ["radio.bandwidth_hz", "equal to 1000", "-1.0"],
    ),
    "negative distance": ({"channel": {"distance_m": {"low": -5.0}}}, ["channel.distance_m.low", "equal to 0", "-5"]),
    "distance in the near field": (
        {"channel": {"distance_m": {"low": 0.5}}},
        ["distance_m: ", "low is 0.5, expected 1 to"],
    ),
    "distances in the wrong order": ({"channel": {"distance_m": {"high": 3.0}}}, ["distance_m", "low (20.0)", "3.0"]),
    "floor above 1": ({"reward": {"mass_floor": 1.5}}, ["reward.mass_floor", "less than or equal to 1", "1.5"]),
    "NaN": ({"radio": {"bs_power_w": math.nan}}, ["radio.bs_power_w", "finite"]),
    "infinity": ({"radio": {"bandwidth_hz": math.inf}}, ["radio.bandwidth_hz", "finite"]),
    "unknown choice": ({"channel": {"path_loss": "moon"}}, ["channel.path_loss", "free-space, umi", "'moon'"]),
    "unknown compute kind": (device(compute={"kind": "magic"}), ["devices.0.compute", "linear, roofline", "magic"]),
    "K > E": ({"model": {"top_k": 9}}, ["model.top_k is 9", "model.experts = 8"]),
    "fewer experts than devices": (device(count=9), ["model.experts is 8", "9 devices"]),
    "no device": ({"devices": []}, ["devices", "at least 1"]),
    "host out of range": ({"host": [0, 1, 2, 3, 4, 5, 6, 8]}, ["host[7] is 8", "from 0 to 7"]),
    "negative host": ({"host": [-1, 1, 2, 3, 4, 5, 6, 7]}, ["host[0] is -1", "from 0 to 7"]),
    "host too short": ({"host": [0, 1]}, ["host names 2 experts", "model.experts = 8"]),
    "idle device": ({"host": [0, 1, 2, 3, 4, 5, 6, 6]}, ["host gives no expert to device 7"]),
    "too little memory": (device(memory_gb=8.0), ["device 0", "'a'", "cannot hold", "11.3 GB", "6.5 GB are free"]),
    "half a roofline": (device(compute={"kind": "roofline", "launch_s": 0.0}), ["devices.0.compute", "memory_bandw"]),
    "board and figures": (
        device(compute={"kind": "roofline", "board": "orin-nano-8gb", "launch_s": 0.0}),
        ["board 'orin-nano-8gb' already sets"],
    ),
    "unknown board": (device(compute={"kind": "roofline", "board": "pi"}), ["devices.0.compute", "'pi'", "orin"]),
    "something JSON cannot hold": ({"name": object()}, ["name is <object", "expected a text"]),
    "an array": ({"host": np.arange(8)}, ["host is array", "expected a text, number, list"]),
}


@pytest.mark.parametrize(("overrides", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_named_with_what_was_expected(overrides, words):
    with pytest.raises(ValueError) as caught:
        load_scenario("paper", **overrides)
    for word in words:
        assert word in str(caught.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(ValueError) as caught:
        load_scenario("paper", model={"layers": 0}, traffic={"tokens": -1}, colour="red")
    for word in ("model.layers", "traffic.tokens", "colour"):
        assert word in str(caught.value)


def test_missing_keys_are_named(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text("name: short\n")
    with pytest.raises(ValueError, match=r"(?s)short\.yaml.*radio: Field required"):
        load_scenario(path)


def test_a_board_that_cannot_hold_its_experts_is_an_error():
    with pytest.raises(ValueError, match=r"device 4 \('Orin Nano'\) cannot hold its 1 expert"):
        load_scenario("jetson", model={"weight_bits": 16.0})


def test_an_unknown_scenario_lists_the_presets():
    with pytest.raises(ValueError, match="unknown scenario 'papr'") as caught:
        load_scenario("papr")
    for name in preset_names():
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1, 2", "is not a YAML file"),
        ("- 1\n- 2\n", "holds a list, expected a mapping"),
        ("name: 2024-01-01\n", "name is datetime.date"),
        ("name: &own [*own]\n", "holds an alias of itself"),
        ("", "holds a NoneType, expected a mapping"),
        ("name: !!python/object/apply:os.mkdir [{mark}]\n", "is not a YAML file.*python/object"),
        ("name: !!python/name:os.system\n", "is not a YAML file.*python/name"),
    ],
)
def test_a_file_that_is_no_plain_yaml_mapping_is_refused_and_runs_nothing(content, message, tmp_path):
    path, mark = tmp_path / "bad.yaml", tmp_path / "executed"
    path.write_text(content.replace("{mark}", str(mark)))
    with pytest.raises(ValueError, match=f"(?s){message}") as caught:
        load_scenario(path)
    assert str(path) in str(caught.value)
    assert not mark.exists()


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="is not a YAML file"):
        load_scenario(path)


@pytest.mark.parametrize("text", ["100e6", "1e8", "+1e+8", "1.0e8", "10_000_0e3", "100000000"])
def test_numbers_are_read_as_yaml_1_2_writes_them(text, tmp_path):
    data = load_scenario("paper").model_dump(mode="json")
    data["radio"]["bandwidth_hz"] = "BAND"
    path = tmp_path / "own.yaml"
    path.write_text(json.dumps(data).replace('"BAND"', text))
    assert load_scenario(path).radio.bandwidth_hz == 1e8


def test_experts_are_dealt_out_evenly_by_default():
    scenario = load_scenario("paper", model={"experts": 20})
    assert isinstance(scenario, Scenario)
    np.testing.assert_array_equal(np.bincount(scenario.hosts), [3, 3, 3, 3, 2, 2, 2, 2])


@pytest.mark.parametrize("name", ["../../evil", "a/b", "", ".hidden", "two words"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(ValueError, match="name: String should match pattern"):
        load_scenario("paper", name=name)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nreward: {penalty: 1.0}\nreward: {penalty: 2.0}\n")
    with pytest.raises(ValueError, match="key 'reward' stands twice"):
        load_scenario(path)


def test_numpy_numbers_are_numbers():
    scenario = load_scenario("paper", traffic={"tokens": np.int64(16)}, radio={"bandwidth_hz": np.float32(5e7)})
    assert (scenario.traffic.tokens, scenario.radio.bandwidth_hz) == (16, 5e7)


def test_a_bank_that_fits_no_memory_is_refused():
    with pytest.raises(ValueError, match=r"bank_passes = 1000000 passes.*need 65\.5 GB, expected at most 4 GB"):
        load_scenario("paper", gating={"bank_passes": 10**6})


@pytest.mark.parametrize("key", [1, None, (1, 2), b"name"])
def test_keys_are_texts(key):
    with pytest.raises(ValueError, match=r"has the key .*, expected a text"):
        load_scenario("paper", model={key: 1})
