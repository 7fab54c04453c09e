"""The application answers what the simulator says, and refuses what it should."""

import io
import json
from urllib.parse import urlencode

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import baselines
from explorer import __main__ as command
from explorer.cells.changes import begin
from explorer.figures.recording import CALLS, COLUMNS, LAYERS
from explorer.library import Library
from explorer.view import View
from explorer.web.app import make_app
from wdmoe_env import load_scenario
from wdmoe_env.files.tables import write_rows

LAYER_COLUMNS, CALL_COLUMNS = (list(COLUMNS[name]) for name in (LAYERS, CALLS))
HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


@pytest.fixture(scope="module")
def client():
    return make_app(Library(), View(), HOSTS).test_client()


def asked(client, path):
    return client.get(path, base_url="http://127.0.0.1:8050")


def row(table, name):
    return next(values for title, values in table if title == name)


@pytest.mark.parametrize(("lang", "words"), [("en", "Take over"), ("zh", "亲手决策")])
def test_the_page_speaks_its_language(client, lang, words):
    answer = asked(client, f"/?lang={lang}")
    assert answer.status_code == 200
    assert words in answer.text
    assert f'<html lang="{"zh-CN" if lang == "zh" else lang}">' in answer.text
    assert "<option selected>paper</option>" in answer.text


@pytest.mark.parametrize("pane", ["results", "training", "testbed"])
def test_a_pane_with_nothing_to_open_says_how_to_start(client, pane):
    assert "python -m explorer --folders" in asked(client, f"/?pane={pane}").text


def test_answers_may_not_be_used_by_other_pages(client):
    headers = asked(client, "/").headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8050", "127.0.0.1.evil.example", "[::1", "::1:80:x"])
def test_a_foreign_name_for_this_machine_is_refused(client, host):
    assert client.get("/draw", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "[::1]", "[::1]:8050", "192.0.2.7:8050"])
def test_names_of_this_machine_are_served(client, host):
    assert client.get("/", base_url=f"http://{host}").status_code == 200


def test_a_name_in_a_link_is_text_and_no_markup(client):
    answer = asked(client, "/?scenario=%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert" in answer.text


def test_a_step_is_that_of_the_simulator(client):
    scenario = load_scenario("paper")
    simulator, policy = begin(scenario, 3, {}), baselines.make("price")
    policy.reset(scenario, 1)
    for _ in range(3):
        decision = policy.decide(simulator.observation)
        outcome = simulator.step(decision)
    answer = asked(client, "/draw?a=wdmoe&b=price&seed=3&step=2").json
    metrics = outcome.metrics
    assert row(answer["table"], "This layer") == ["wdmoe", "price"]
    assert row(answer["table"], "Latency, ms")[1] == f"{1e3 * metrics['latency'][0]:.4g}"
    assert row(answer["table"], "Reward")[1] == f"{outcome.reward[0]:.3f}"
    assert row(answer["table"], "WLR, 1/s")[1] == f"{metrics['wlr'][0]:.4g}"
    assert row(answer["table"], "Of the proven most") == ["proving…"] * 2
    bars = answer["figures"]["devices-figure"]["data"]
    assert bars[5]["y"] == pytest.approx(decision.bandwidth[0] / 1e6, rel=1e-3)
    assert answer["where"] == "pass 1 of 1, layer 3 of 32"
    assert answer["steps"] == 32


def test_the_same_policy_twice_is_shown_once(client):
    assert list(asked(client, "/draw?a=wdmoe&b=wdmoe").json["words"]) == ["0"]


def test_prices_by_hand_change_the_layer_as_the_simulator_says(client):
    link = "/draw?a=top-k&b=price&pieces=0@0,0,0,0,0.9,0,0,0"
    answer = asked(client, link).json
    assert list(answer["words"]) == ["0", "1", "2"]
    assert answer["hand"]["taken"]
    assert answer["hand"]["price"][4] == 0.9
    assert sum(answer["hand"]["share"]) == pytest.approx(1.0, abs=1e-3)
    tokens = np.array(answer["tokens"]["2"]["marks"])
    assert (tokens[4] >= 2).sum() < (np.array(answer["tokens"]["0"]["marks"])[4] >= 2).sum()


def test_the_course_proves_until_all_is_proved(client):
    link = "/course?scenario=tiny-moe&a=wdmoe&b=price"
    answers = [asked(client, link).json]
    while not answers[-1]["done"]:
        answers.append(asked(client, link).json)
        assert len(answers) < 100
    _, one, other, proven, *rewards = answers[-1]["figures"]["course"]["data"]
    assert None not in proven["y"]
    assert all(
        reward <= most * (1 + 1e-3) for line in rewards for reward, most in zip(line["y"], proven["y"], strict=True)
    )
    assert row(answers[-1]["table"], "Of the proven most")[1].endswith("%")
    assert len(one["y"]) == len(other["y"]) == load_scenario("tiny-moe").steps_per_episode


def test_where_nothing_can_be_proved_the_page_says_so(client, tmp_path):
    data = load_scenario("paper", radio={"medium": "shared"}).model_dump(mode="json", exclude_none=True)
    (tmp_path / "own.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in data.items()))
    own = make_app(Library([tmp_path]), View(), HOSTS).test_client()
    answer = asked(own, f"/draw?scenario={tmp_path.name}/own.yaml&a=top-k&b=wdmoe").json
    assert row(answer["table"], "Of the proven most") == ["no bound known"] * 2


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("step=99", "step is 99, expected 0 to 31"),
        ("scenario=nowhere", "scenario 'nowhere' is not in the folders"),
        ("a=runs/x", "policy 'runs/x' is none of those"),
        ("what=1", "'what' is no part of a link"),
        ("band=-3", "band is '-3'"),
    ],
)
@pytest.mark.parametrize("path", ["draw", "course", "view.json"])
def test_a_link_that_cannot_be_is_answered_with_what_is_wrong(client, path, query, message):
    answer = asked(client, f"/{path}?{query}")
    assert answer.status_code == 400
    assert message in answer.json["error"]


def test_a_bug_is_told_and_the_page_goes_on(client, monkeypatch):
    def fail(self):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("explorer.web.drawing.Drawing.record", fail)
    answer = asked(client, "/view.json")
    assert (answer.status_code, answer.json["error"]) == (500, "a bug, please report it: ZeroDivisionError: by zero")
    assert asked(client, "/draw").status_code == 200


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "a": st.sampled_from(["top-k", "wdmoe", "price", "constant-price", "random", "nobody"]),
            "seed": st.sampled_from(["0", "7", str(2**63 - 1), "-1"]),
            "step": st.sampled_from(["0", "3", "31", "32"]),
            "band": st.sampled_from(["1", "1e3", "1e11", "1e12"]),
            "distance": st.sampled_from(["0:1", "7:1e5", "8:5", "0:0.5"]),
            "speed": st.sampled_from(["0:0.001", "3:100", "3:0"]),
            "pieces": st.sampled_from(["0@" + "1," * 7 + "1", "0@0,0,0,0,0,0,0,1:0,0,0,0,0,0,0,1", "2@0.5"]),
        },
    )
)
def test_no_link_makes_the_server_fail(client, said):
    answer = asked(client, f"/draw?{urlencode(said)}")
    assert answer.status_code in (200, 400)
    assert ("error" in answer.json) == (answer.status_code == 400)


def test_the_page_of_a_broken_link_says_what_is_wrong(client):
    answer = asked(client, "/?step=minus")
    assert answer.status_code == 200
    assert "step is &#39;minus&#39;, expected a whole number" in answer.text


def test_what_is_open_in_a_pane_is_in_the_folders(client):
    assert "not in the folders" in asked(client, "/folder?pane=results&item=a").json["error"]
    assert "pane is 'cell'" in asked(client, "/folder?item=a").json["error"]


@pytest.fixture
def folders(tmp_path):
    """Results, a run and a recording, as the project writes them."""
    trace = {"type": "bar", "x": [1], "y": ["top-k"], "name": "top-k", "meta": {"policy": "top-k"}}
    figure = {"data": [trace, {"type": "scatter", "x": [1], "y": [2]}], "layout": {"height": 200}}
    one = {"name": "latency", "title": "Latency", "caption": "of a pass", "figure": figure}
    for place in ("results/a", "results/old", "results/live", "runs/first"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "results/a/summary.json").write_text("{}")
    (tmp_path / "results/a/figures.json").write_text(json.dumps({"paper": [one]}))
    (tmp_path / "results/old/summary.json").write_text("{}")
    (tmp_path / "runs/first/config.json").write_text("{}")
    (tmp_path / "runs/first/evaluations.csv").write_text("timesteps,reward\n1000,1.5\n2000,1.7\n")
    write_rows(tmp_path / "results/live/layers.parquet", LAYER_COLUMNS, [["price", 0, 0, 0, 0.1, 0.12]])
    calls = [["price", 0, 0, 0, 0, "d0", 0.18, 0.1, 0.05, 0.01, 0.02, 0.003]]
    write_rows(tmp_path / "results/live/calls.parquet", CALL_COLUMNS, calls)
    return Library([tmp_path / "results", tmp_path / "runs"])


@pytest.mark.parametrize(
    ("link", "headings"),
    [
        ("pane=results&item=results/a", ["paper: Latency"]),
        ("pane=training&item=runs/first", ["Reward on validation episodes"]),
        ("pane=testbed", ["Latency of each layer, measured and predicted", "Devices in this layer"]),
    ],
)
def test_results_runs_and_recordings_are_shown(folders, link, headings):
    answer = asked(make_app(folders, View(), HOSTS).test_client(), f"/folder?{link}").json
    assert [one["title"] for one in answer["headings"]] == headings
    assert {one["id"] for one in answer["headings"]} == set(answer["figures"])
    if "results" in link:
        assert answer["policies"] == ["top-k"]


def test_the_first_thing_of_a_pane_is_open(folders):
    page = asked(make_app(folders, View(), HOSTS).test_client(), "/?pane=testbed").text
    assert 'data-item="results/live"' in page
    assert '<a href="?pane=testbed&amp;item=results/live" aria-current="page">' in page


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        (None, "figures.json cannot be read"),
        ("[]", "figures.json"),
        ('{"paper": [{"title": 1}]}', "figures.json is none of"),
    ],
)
def test_broken_results_are_told(folders, figures, message):
    if figures is not None:
        (folders.path_of("results", "results/old") / "figures.json").write_text(figures)
    answer = asked(make_app(folders, View(), HOSTS).test_client(), "/folder?pane=results&item=results/old")
    assert answer.status_code == 400
    assert message in answer.json["error"]


def test_a_view_is_exported_as_numbers(client):
    answer = asked(client, "/view.json?step=1&pieces=1@0.5,0,0,0,0,0,0,0")
    assert "attachment" in answer.headers["Content-Disposition"]
    assert [one["policy"] for one in answer.json["policies"]] == ["wdmoe", "price", "You"]
    first = answer.json["policies"][0]
    assert sum(first["bandwidth_hz"]) == pytest.approx(100e6)
    assert len(first["selection"]) == 64
    times = np.array(first["communication_s"]) + np.array(first["computation_s"])
    assert times.max() == pytest.approx(first["metrics"]["latency"], rel=1e-6)
    assert answer.json["policies"][2]["price"][0] > 0
    assert answer.json["link"] == "?step=1&pieces=1@0.5,0,0,0,0,0,0,0"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "frames"), [("png", 1), ("gif", 3)])
def test_a_view_is_exported_as_picture_and_film(client, kind, frames):
    answer = asked(client, f"/view.{kind}?step=2")
    picture = Image.open(io.BytesIO(answer.data))
    assert picture.format == kind.upper()
    assert picture.size == (2560, 800)
    assert getattr(picture, "n_frames", 1) == frames


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenario", "nowhere"], "scenario 'nowhere' is not in the folders"),
        (["--folders", "nowhere"], "folder 'nowhere' does not exist"),
        (["--host", "203.0.113.1", "--no-browser"], "cannot listen on 203.0.113.1"),
    ],
)
def test_what_cannot_be_served_is_told_at_the_start(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_command_serves_until_it_is_interrupted(tmp_path, monkeypatch, capsys):
    def interrupt(server):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("werkzeug.serving.BaseWSGIServer.serve_forever", interrupt)
    assert command.main(["--port", "0", "--no-browser", "--lang", "zh", "--scenario", "jetson"]) == 0
    assert "/?lang=zh&scenario=jetson" in capsys.readouterr().out
