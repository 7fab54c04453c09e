from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from evaluation.comparison import Comparison
from evaluation.report import plots, style
from evaluation.report.learning_curve import learning_curve, read_curves


def with_runs(comparison: Comparison, folder: Path, tables: Sequence[str | None]) -> Comparison:
    """The second policy as a set of runs, each with a file of evaluations unless its table is None."""
    run_dirs = tuple(folder / f"seed-{index}" for index in range(len(tables)))
    for run_dir, table in zip(run_dirs, tables, strict=True):
        run_dir.mkdir()
        if table is not None:
            (run_dir / "evaluations.csv").write_text(f"timesteps,reward,latency_ms\n{table}")
    agent = comparison.results[1]
    trained = replace(agent, contender=replace(agent.contender, name="ppo", run_dirs=run_dirs, trained=True))
    return replace(comparison, results=(comparison.results[0], trained))


@pytest.mark.slow
def test_it_is_drawn_where_a_run_has_one(comparison: Comparison, tmp_path: Path) -> None:
    without = with_runs(comparison, tmp_path, [None])
    assert "tiny-learning-curve" not in {plot.name for plot in plots.draw_all(without, tmp_path)}
    (tmp_path / "seed-0" / "evaluations.csv").write_text("timesteps,reward,latency_ms\n0,0.5,9\n100000,1.25,8\n")
    assert "tiny-learning-curve" in {plot.name for plot in plots.draw_all(without, tmp_path)}


def test_runs_lie_on_a_common_grid_of_steps(comparison: Comparison, tmp_path: Path) -> None:
    tables = ["0,1.0,9\n100,2.0,9\n200,4.0,9\n", "50,1.0,9\n150,3.0,9\n", None]
    found = read_curves(with_runs(comparison, tmp_path, tables).results[1])
    assert found is not None
    assert found.timesteps.tolist() == [50.0, 100.0, 150.0]
    assert found.reward.tolist() == [[1.5, 2.0, 3.0], [1.0, 2.0, 3.0]]


def test_runs_without_steps_in_common_have_no_curve(comparison: Comparison, tmp_path: Path) -> None:
    tables = ["0,1.0,9\n100,2.0,9\n", "200,1.0,9\n300,3.0,9\n"]
    assert read_curves(with_runs(comparison, tmp_path, tables).results[1]) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "words"), [(3, "ppo, 3 runs, from the least to the most"), (6, "ppo, 6 runs, 95 % bootstrap of the mean")]
)
def test_the_band_is_what_the_caption_says(comparison: Comparison, tmp_path: Path, count: int, words: str) -> None:
    rewards = np.arange(count) / 10.0 + 1.0
    prepared = with_runs(comparison, tmp_path, [f"0,1.0,9\n100,{reward},9\n" for reward in rewards])
    found = read_curves(prepared.results[1])
    assert found is not None
    low, high = found.band()
    assert low[0] == high[0] == 1.0
    if count < 5:
        assert (low[1], high[1]) == (rewards.min(), rewards.max())
    else:
        assert high[1] - low[1] == pytest.approx(2 * 1.96 * rewards.std() / np.sqrt(count), rel=0.1)
    path = tmp_path / "curve.png"
    with style.applied():
        caption = learning_curve(prepared, path)
    assert caption is not None
    assert words in caption
    assert image.imread(path).shape[1] > 800


def test_a_single_run_has_no_band(comparison: Comparison, tmp_path: Path) -> None:
    caption = learning_curve(with_runs(comparison, tmp_path, ["0,1.0,9\n100,2.0,9\n"]), tmp_path / "curve.png")
    assert caption is not None
    assert "Bands" not in caption


@pytest.mark.parametrize(
    "content",
    [b"", b"timesteps\n1\n", b"timesteps,reward\n", b"timesteps,reward\nten,two\n", b"\xff\x00", b"a,b\n1,2,3\n"],
)
def test_a_file_that_is_no_such_table_costs_its_curve_alone(
    comparison: Comparison, tmp_path: Path, content: bytes
) -> None:
    prepared = with_runs(comparison, tmp_path, [None, "0,1.0,9\n100,2.0,9\n100,"])
    (tmp_path / "seed-0/evaluations.csv").write_bytes(content)
    found = read_curves(prepared.results[1])
    assert found is not None
    assert found.reward.tolist() == [[1.0, 2.0]]
