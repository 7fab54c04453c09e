"""The folders given at the start can be opened, and nothing else."""

import pytest

import baselines
from agents.files import run_dir
from agents.policies.shipped import FOLDER
from evaluation.report import outputs
from explorer.figures import recording
from explorer.library import MARKS, Library, shipped_in
from explorer.view import ViewError
from explorer.web import folders as folders_of_page
from wdmoe_env.scenario import preset_names
from wdmoe_env.testbed import compare, records

SCENARIO = "name: own\nmodel: {}\ndevices: []\nchannel: {}\n"


@pytest.fixture
def folders(tmp_path):
    for place in ("runs/first", "runs/set", "results/a", "results/live"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "runs/first/config.json").write_text("{}")
    (tmp_path / "runs/set/seeds.json").write_text("{}")
    (tmp_path / "results/a/summary.json").write_text("{}")
    (tmp_path / "results/live/layers.parquet").write_text("")
    (tmp_path / "runs/own.yaml").write_text(SCENARIO)
    (tmp_path / "runs/other.yaml").write_text("learning_rate: 1\n")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/config.json").write_text("{}")
    (tmp_path / "runs/link").symlink_to(tmp_path / "secret")
    return tmp_path


@pytest.fixture
def library(folders):
    return Library([folders / "runs", folders / "results"])


def test_what_the_folders_hold_is_found_by_kind(library, folders):
    assert [item.name for item in library.items("run")] == ["runs/first", "runs/set"]
    assert [item.name for item in library.items("results")] == ["results/a"]
    assert [item.name for item in library.items("testbed")] == ["results/live"]
    assert [item.name for item in library.items("scenario")] == ["runs/own.yaml"]
    assert library.path_of("run", "runs/first") == folders / "runs/first"


def test_a_folder_that_is_a_run_itself_is_opened_by_its_own_name(folders):
    assert [item.name for item in Library([folders / "runs/first"]).items("run")] == ["first"]


@pytest.mark.parametrize("name", ["runs/../secret", "secret", "/etc/passwd", "runs/link", "../secret", "runs/first/"])
def test_nothing_outside_the_folders_is_opened(library, name):
    with pytest.raises(ViewError, match="is not in the folders given at the start"):
        library.path_of("run", name)
    with pytest.raises(ViewError):
        library.source(name)
    with pytest.raises(ViewError):
        library.scenario(name)


def test_scenarios_are_presets_and_files_of_the_folders(library, folders):
    assert library.scenarios() == [*preset_names(), "runs/own.yaml"]
    assert library.scenario("paper") == "paper"
    assert library.scenario("runs/own.yaml") == str(folders / "runs/own.yaml")


def test_policies_are_baselines_shipped_ones_and_runs(library, folders):
    assert library.policies("paper") == [
        *baselines.BASELINES,
        "pretrained:ppo",
        "pretrained:sac",
        "runs/first",
        "runs/set",
    ]
    assert "pretrained:sac" not in library.policies("jetson")
    assert library.source("wdmoe") == "wdmoe"
    assert library.source("runs/first") == f"first={folders / 'runs/first'}"


def test_folders_are_told_apart_and_exist(folders):
    with pytest.raises(ValueError, match=r"folder '.*nowhere' does not exist"):
        Library([folders / "nowhere"])
    (folders / "b/runs").mkdir(parents=True)
    with pytest.raises(ValueError, match="two folders have the same name"):
        Library([folders / "runs", folders / "b/runs"])


def test_marks_and_shipped_policies_are_those_of_their_owners():
    owners = run_dir.CONFIG, run_dir.SEEDS, outputs.SUMMARY, records.LAYERS
    assert tuple(MARKS) == owners
    assert folders_of_page.FIGURES == outputs.FIGURES
    assert (recording.LAYERS, recording.CALLS) == (records.LAYERS, records.CALLS)
    assert set(recording.PARTS) == set(compare.PARTS)
    shipped = {path.name for path in FOLDER.iterdir() if path.is_dir()}
    assert {f"{preset}-{algo}" for algo in ("ppo", "sac") for preset in shipped_in(f"pretrained:{algo}")} == shipped


def test_a_file_that_is_no_text_is_no_scenario(folders):
    (folders / "runs/odd.yaml").write_bytes(b"\xff\xfe" + SCENARIO.encode())
    assert "runs/odd.yaml" not in {item.name for item in Library([folders / "runs"]).items("scenario")}
