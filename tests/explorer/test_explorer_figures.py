"""Figures show the numbers of the simulator."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import baselines
import explorer
from explorer.cells.changes import begin
from explorer.cells.episodes import PolicyEpisode
from explorer.figures.bars import device_bars
from explorer.figures.cell_map import cell_map
from explorer.figures.course import Course, course
from explorer.figures.recording import PARTS, devices_figure, layers_figure, read_recording
from explorer.figures.shown import Shown
from explorer.figures.token_map import KEPT, LEFT_OUT, NOT_CHOSEN, TAKEN_IN, legend, token_map
from explorer.view import ViewError
from wdmoe_env import load_scenario
from wdmoe_env.files.tables import write_rows
from wdmoe_env.texts import LANGUAGES, load_texts

FOLDER = Path(explorer.__file__).parent / "texts"
TEXTS = load_texts(FOLDER, "en")


def shown(name="paper", policy="price", place=0, step=1, **more):
    episode = PolicyEpisode(begin(load_scenario(name), 4, {}), baselines.make(policy))
    return Shown(policy, place, episode.at(step), **more)


@pytest.mark.parametrize("name", ["paper", "jetson", "cell-64"])
def test_the_map_shows_where_devices_are_and_how_the_band_is_split(name):
    one = shown(name)
    found, scene = cell_map(one, TEXTS), one.moment.scene
    assert found["x"] == pytest.approx(scene.position.real, rel=1e-3)
    assert found["waiting"] == one.times.argmax()
    share = one.step.bandwidth / scene.scenario.radio.bandwidth_hz * len(one.step.bandwidth)
    expected = [0 if part <= 0 else 1 + sum(part >= end for end in (0.25, 0.5, 1.0)) for part in share]
    assert found["link"] == expected
    assert "all wait for it" in found["said"][found["waiting"]]
    assert f"{1e3 * one.times[2]:.3g} ms" in found["said"][2]


def test_bars_are_times_and_band_of_each_device():
    both = [shown(), shown(policy="wdmoe", place=1)]
    figure = device_bars(both, TEXTS)
    sending, computing, band = figure["data"][:3]
    step = both[0].step
    assert sending["y"] == pytest.approx(1e3 * step.communication, rel=1e-3)
    assert computing["base"] == sending["y"]
    assert computing["y"] == pytest.approx(1e3 * step.computation, rel=1e-3)
    assert band["y"] == pytest.approx(step.bandwidth / 1e6, rel=1e-3)
    ends = [shape["y0"] for shape in figure["layout"]["shapes"]]
    assert ends[:2] == pytest.approx([1e3 * one.step.metrics["latency"] for one in both])
    assert ends[-1] == pytest.approx(100 / 8)


def test_a_slow_plain_layer_does_not_flatten_the_bars():
    one = shown("cell-64")
    assert one.step.metrics["latency_top_k"] > 2 * one.step.metrics["latency"]
    assert device_bars([one], TEXTS)["layout"]["yaxis"]["range"][1] < 1.1e3 * one.step.metrics["latency"]


def test_the_token_map_counts_what_happened():
    one = shown()
    found, scene, chosen = token_map(one, TEXTS), one.moment.scene, one.step.selection
    marks = np.array(found["marks"]).T
    assert np.array_equal(marks >= KEPT, chosen & scene.routed)
    assert np.array_equal(marks == LEFT_OUT, scene.routed & ~chosen)
    assert np.array_equal(marks == TAKEN_IN, chosen & ~scene.routed)
    assert np.array_equal(marks == NOT_CHOSEN, ~chosen & ~scene.routed)
    words = dict(legend(one, TEXTS))
    assert words["kept"] == f"kept: {(chosen & scene.routed).sum()}"


def test_stories_tell_weight_rank_and_reason():
    price = np.linspace(0.0, 0.7, 8)
    one = shown(price=price)
    found, scene, chosen = token_map(one, TEXTS), one.moment.scene, one.step.selection
    token, expert = np.argwhere(scene.routed & ~chosen)[0]
    story = found["stories"][expert][token]
    assert f"token {token}, expert {expert}" in story
    assert f"gate weight {scene.gate_weights[token, expert]:.3f}" in story
    rank = 1 + (scene.gate_weights[token] > scene.gate_weights[token, expert]).sum()
    assert f", {rank}. of 8" in story
    assert "dropped: " in story
    assert f"price of device {expert}: {price[expert]:.3f}" in story
    alone = np.argwhere((chosen.sum(axis=1, keepdims=True) == 1) & chosen & scene.routed)[0]
    assert "the token's only expert" in found["stories"][alone[1]][alone[0]]


def test_large_cells_have_words_in_the_place_of_stories():
    found = token_map(shown("cell-64"), TEXTS)
    assert found["stories"] is None
    assert len(found["weights"]) == len(found["marks"]) == 64
    assert found["words"] == ["not chosen", "dropped", "taken in its place", "kept"]


def test_experts_stand_by_their_devices():
    found = token_map(shown("many-experts", "top-k"), TEXTS)
    hosts = load_scenario("many-experts").hosts
    assert found["labels"][0] == f"{found['experts'][0]}·0"
    assert list(hosts[found["experts"]]) == sorted(hosts)


def test_the_course_adds_latency_up_and_leaves_out_what_is_not_proved():
    one = Course("a<b>", 0, np.array([0.01, 0.02]), np.array([1.0, 2.0]))
    figure = course([one], np.array([0.02, 0.03]), np.array([2.5, np.nan]), TEXTS)
    plain, together, proven, reward = figure["data"]
    assert together["y"] == pytest.approx([10, 30])
    assert plain["y"] == pytest.approx([20, 50])
    assert proven["y"] == [2.5, None]
    assert reward["y"] == [1.0, 2.0]
    assert together["name"] == "a&lt;b&gt;"
    low, high = figure["layout"]["yaxis2"]["range"]
    assert low < 1.0 < 2.5 < high


def test_one_layer_that_went_badly_wrong_does_not_flatten_the_course():
    one = Course("a", 0, np.ones(9), np.array([1.0] * 8 + [-5000.0]))
    low, _ = course([one], np.ones(9), np.full(9, 1.2), TEXTS)["layout"]["yaxis2"]["range"]
    assert low > -1.0


def test_every_text_of_the_page_stands_in_every_language():
    english = load_texts(FOLDER, "en")
    for language in LANGUAGES:
        texts = load_texts(FOLDER, language)
        for key, text in texts.items():
            places = {part.split("}")[0].split(":")[0] for part in text.split("{")[1:]}
            assert places == {part.split("}")[0].split(":")[0] for part in english[key].split("{")[1:]}, (language, key)


@pytest.fixture
def recording(tmp_path):
    calls = ["policy", "run", "episode", "step", "device", "name", "predicted_s", *(f"{part}_part_s" for part in PARTS)]
    layers = ["policy", "run", "episode", "step", "predicted_s", "measured_s"]
    write_rows(tmp_path / "layers.parquet", layers, [["price", 0, 0, 0, 0.1, 0.12], ["price", 0, 0, 1, 0.2, 0.19]])
    rows = [["price", 0, 0, 1, device, f"d{device}", 0.18, 0.1, 0.05, 0.01, 0.02, 0.003] for device in (0, 1)]
    write_rows(tmp_path / "calls.parquet", calls, rows)
    return tmp_path


def test_a_recording_is_shown_layer_by_layer(recording):
    found = read_recording(recording)
    measured, predicted = layers_figure(found, TEXTS)["data"]
    assert measured["y"] == pytest.approx([120, 190])
    assert predicted["y"] == pytest.approx([100, 200])
    figure = devices_figure(found, 1, TEXTS)
    assert [trace["y"] for trace in figure["data"]] == [pytest.approx([ms] * 2) for ms in (100, 50, 10, 20, 3, 180)]
    assert [shape["y0"] for shape in figure["layout"]["shapes"]] == pytest.approx([190, 200])
    assert devices_figure(found, 0, TEXTS)["data"][0]["x"] == []  # nobody was called
    with pytest.raises(ViewError, match="row is 2, expected 0 to 1"):
        devices_figure(found, 2, TEXTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "calls.parquet").unlink(), "calls.parquet cannot be read"),
        (lambda folder: (folder / "layers.parquet").write_bytes(b"PAR1"), "layers.parquet cannot be read"),
        (
            lambda folder: (
                pl.read_parquet(folder / "layers.parquet").drop("step").write_parquet(folder / "layers.parquet")
            ),
            "layers.parquet lacks the column step",
        ),
        (
            lambda folder: pl.read_parquet(folder / "layers.parquet").clear().write_parquet(folder / "layers.parquet"),
            "layers.parquet has no rows",
        ),
    ],
)
def test_a_broken_recording_is_told(recording, change, message):
    change(recording)
    with pytest.raises(ViewError, match=message):
        read_recording(recording)
