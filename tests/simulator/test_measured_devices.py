"""Scenarios with measured devices: files, boards and modes are found or named, and what policies know is the median."""

import json
import pickle

import numpy as np
import pytest
from scipy import optimize
from support.replayed import replaying, runs, table
from support.toy import preset

from wdmoe_env import load_scenario
from wdmoe_env.hardware.latency.recordings import affine_fit, median_seconds
from wdmoe_env.hardware.latency.table import write_measurements


def compute(**changes):
    """Overrides of `jetson` whose only group of devices is measured."""
    return {"devices": [{"name": "mine", "count": 8, "compute": {"kind": "measured", **changes}}]}


@pytest.fixture
def path(tmp_path):
    return table(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["give a board, one of agx-orin-64gb", "or a file"]),
        ({"board": "pi"}, ["board='pi'", "orin-nano-8gb"]),
        ({"board": "orin-nano-8gb", "power_mode": "3W"}, ["power_mode='3W'", "15W"]),
        ({"board": "xavier-nx-8gb"}, ["'xavier-nx-8gb'", "modelled", "'roofline'"]),
        ({"board": "orin-nano-8gb", "replay": "sequence"}, ["measurements.csv", "15W", "a sequence needs single runs"]),
        ({"board": "orin-nano-8gb", "replay": "backwards"}, ["replay", "'distribution' or 'sequence'", "backwards"]),
        ({"file": "nowhere.csv"}, ["no file 'nowhere.csv'", "tried"]),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_a_reason(changes, words):
    with pytest.raises(ValueError) as caught:
        load_scenario("jetson", **compute(**changes))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["board None", "fast, slow"]),
        ({"board": "pi"}, ["boards.csv", "board 'pi'", "fast, slow"]),
        ({"board": "slow", "power_mode": "15W"}, ["boards.csv", "board 'slow'", "power_mode '15W'", "default"]),
        ({"board": "slow", "replay": "sequence"}, ["boards.csv", "'slow'", "'default'", "4096x14336 at 4 bits"]),
    ],
)
def test_what_a_file_does_not_hold_is_named_with_what_it_holds(path, changes, words):
    with pytest.raises(ValueError) as caught:
        load_scenario("jetson", **compute(file=str(path), **changes))
    for word in words:
        assert word in str(caught.value)


def test_a_broken_table_is_refused_with_its_faults(path):
    path.write_text(path.read_text().replace("swiglu_expert", "magic", 1))
    with pytest.raises(ValueError, match=r"(?s)boards\.csv.*operation"):
        replaying(path)


def test_a_board_of_the_catalogue_brings_its_mode_and_memory():
    scenario = load_scenario("jetson", **compute(board="orin-nano-8gb"))
    given = load_scenario("jetson", **compute(board="orin-nano-8gb", power_mode="15W"))
    np.testing.assert_array_equal(scenario.compute_model.fixed_s, given.compute_model.fixed_s)
    with pytest.raises(ValueError, match=r"device 0 \('mine'\) cannot hold its 1 expert"):
        load_scenario(scenario, model={"weight_bits": 16.0})


@pytest.mark.parametrize("place", ["beside the scenario", "in the working directory"])
def test_a_table_is_found_and_a_dumped_scenario_finds_it_again(path, place, monkeypatch, tmp_path):
    data = replaying(path).model_dump(mode="json")
    for group in data["devices"]:
        if group["compute"]["kind"] == "measured":
            group["compute"]["file"] = "boards.csv"
    folder, elsewhere = tmp_path / "scenarios", tmp_path / "elsewhere"
    for new in (folder, elsewhere):
        new.mkdir()
    if place == "beside the scenario":
        path.rename(folder / "boards.csv")
    monkeypatch.chdir(elsewhere if place == "beside the scenario" else tmp_path)
    (folder / "mine.yaml").write_text(json.dumps(data))
    scenario = load_scenario(folder / "mine.yaml")
    monkeypatch.chdir("/")
    (elsewhere / "again.yaml").write_text(json.dumps(scenario.model_dump(mode="json")))
    for again in (
        load_scenario(elsewhere / "again.yaml"),
        load_scenario(scenario),
        pickle.loads(pickle.dumps(scenario)),
    ):
        assert again == scenario
        np.testing.assert_array_equal(again.compute_model.token_s, scenario.compute_model.token_s)


def test_a_table_that_is_gone_or_was_changed_is_noticed(path):
    dumped = replaying(path).model_dump(mode="json")
    write_measurements(path, runs("fast"))
    with pytest.raises(ValueError, match=r"boards\.csv: board 'slow', expected one of .*: fast"):
        load_scenario("paper", **dumped)
    write_measurements(path, [*runs("fast"), *runs(seed=9)])
    changed = load_scenario("paper", **dumped).compute_model
    assert changed.token_s[0] != replaying(table(path.parent)).compute_model.token_s[0]
    path.unlink()
    with pytest.raises(ValueError, match=r"no file .*boards\.csv"):
        load_scenario("paper", **dumped)


@pytest.mark.parametrize("way", ["distribution", "sequence"])
def test_policies_know_the_best_affine_fit_to_the_median(path, way):
    scenario, tokens = replaying(path, way), np.arange(1.0, 7.0)
    middle = [float(np.median([row.latency_s for row in runs() if row.tokens == n])) for n in (1, 2, 4, 6)]
    expected, _ = optimize.nnls(np.stack([np.ones(6), tokens], axis=1), np.interp(tokens, (1, 2, 4, 6), middle))
    model = scenario.compute_model
    np.testing.assert_allclose((model.fixed_s[0], model.token_s[0]), expected, rtol=1e-5)
    assert model.fixed_s[2] == 0.0  # the computed one


@pytest.mark.parametrize("seconds", [[3.0], [5.0, 4.0, 3.0], [1.0, 4.0, 9.0], [1.0, 1.0], [2.0, 2.5, 4.0, 4.1]])
def test_the_fit_is_the_best_one_that_is_not_negative(seconds):
    tokens = np.arange(1.0, len(seconds) + 1.0)
    expected, error = optimize.nnls(np.stack([np.ones(len(seconds)), tokens], axis=1), np.array(seconds))
    fixed, per_token = affine_fit(np.array(seconds))
    assert np.linalg.norm(fixed + per_token * tokens - seconds) == pytest.approx(error, abs=1e-12)
    if len(seconds) > 1:
        np.testing.assert_allclose((fixed, per_token), expected, atol=1e-12)


def test_the_preset_knows_its_boards_in_the_median():
    scenario = preset("jetson")
    tokens = np.arange(1.0, 65.0)
    for group, device in enumerate((0, 2, 4)):
        middle = median_seconds(scenario.recordings[group], 64)[1:]
        known = scenario.compute_model.fixed_s[device] + tokens * scenario.compute_model.token_s[device]
        np.testing.assert_allclose(known, middle, rtol=1e-6)
