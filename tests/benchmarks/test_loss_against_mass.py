"""The benchmark that relates a model's loss to retained gate mass: its ways to drop, its rows, and the floors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.miniature import miniature
from support.toy import toy

transformers = pytest.importorskip("transformers")

from benchmarks import harness  # noqa: E402
from benchmarks import loss_against_mass as benchmark  # noqa: E402
from benchmarks.dropping import Dropping  # noqa: E402

from evaluation.episodes.plan import Plan  # noqa: E402
from evaluation.episodes.reader import find_reader  # noqa: E402
from wdmoe_env import Simulator  # noqa: E402
from wdmoe_env.system import selection  # noqa: E402

STREAMS = 6


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loss")
    model = miniature("mixtral", vocab_size=259, num_local_experts=8, num_experts_per_tok=2, max_position_embeddings=32)
    model.save_pretrained(folder / "model")
    transformers.ByT5Tokenizer(extra_ids=0).save_pretrained(folder / "model")
    (folder / "text.txt").write_text("To keep, or not to keep: that is what is measured here.\n" * 6)
    return folder


@pytest.fixture(scope="module")
def rows(files: Path) -> list[benchmark.Row]:
    reader, plan = find_reader(str(files / "model"), [str(files / "text.txt")]), Plan(STREAMS, 0, 1, 0)
    scenario = benchmark.cell_of(reader, None)
    assert (scenario.traffic.tokens, scenario.traffic.passes_per_episode) == (32, 1)
    return list(benchmark.measure(reader.reading(scenario, plan), scenario, plan, (0.8, 1.0, 0.9)))


@pytest.mark.parametrize("mass", [1.0, 0.95, 0.8])
@pytest.mark.parametrize("at_random", [False, True])
def test_dropping_keeps_the_mass_and_no_more_than_one_weight_above_it(mass: float, at_random: bool) -> None:
    scenario = toy(tokens=40)
    observation = Simulator(scenario, 5).reset(0)
    policy = Dropping(mass, at_random)
    policy.reset(scenario, 5)
    chosen = policy.decide(observation).selection
    weights, routed = observation.gate_weights.astype(float), observation.routed
    assert routed is not None
    assert not (chosen & ~routed).any()
    assert (chosen & selection.top_k(weights, 1)).any(axis=-1).all()
    kept, plain = (weights * chosen).sum(axis=(1, 2)), (weights * routed).sum(axis=(1, 2))
    assert (kept >= mass * plain - 1e-9).all()
    assert (kept - np.where(chosen, weights, 0.0).max(axis=(1, 2)) < mass * plain).all()
    if not at_random:
        dropped = np.where(routed & ~chosen, weights, 0.0).max(axis=(1, 2))
        spare = np.where(chosen & ~selection.top_k(weights, 1), weights, np.inf).min(axis=(1, 2))
        assert (dropped <= spare).all()


def test_the_order_is_random_only_if_told_to_and_the_same_after_each_reset() -> None:
    scenario = toy(tokens=40)
    observation = Simulator(scenario, 5).reset(0)
    policy = Dropping(0.9, at_random=True)
    found = []
    for _ in range(2):
        policy.reset(scenario, 5)
        found.append(policy.decide(observation).selection)
    np.testing.assert_array_equal(*found)
    assert not np.array_equal(found[0], policy.decide(observation).selection)


def test_a_mass_of_nothing_leaves_the_best_alone() -> None:
    scenario = toy()
    observation = Simulator(scenario, 5).reset(0)
    policy = Dropping(0.0)
    policy.reset(scenario, 5)
    np.testing.assert_array_equal(policy.decide(observation).selection, selection.top_k(observation.gate_weights, 1))


@pytest.mark.slow
def test_rows_go_from_all_the_mass_down(rows: list[benchmark.Row]) -> None:
    expected = [(way, mass) for way in benchmark.WAYS for mass in (1.0, 0.9, 0.8)]
    assert [(row.way, row.mass_floor) for row in rows] == [*expected, (benchmark.ALONE, None)]
    for row in rows:
        assert row.low <= row.bits_vs_top_k <= row.high
        if row.mass_floor is not None:
            assert row.mass_floor - 1e-6 <= row.retained_mass < row.mass_floor + 0.05
        if row.mass_floor == 1.0:
            assert row.bits_vs_top_k == pytest.approx(1.0, abs=1e-6)
            assert row.retained_mass == pytest.approx(1.0)
        else:
            assert row.bits_vs_top_k != 1.0
    assert rows[-1].experts_per_token == 1.0
    # The same mass takes most experts where those of least weight are kept, too.
    weight, random = (
        next(row for row in rows if (row.way, row.mass_floor) == (way, 0.8)) for way in ("weight", "random")
    )
    assert weight.experts_per_token < random.experts_per_token


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.02, 1.06], 0.85),
        ([1.0, 1.06, 1.0], 0.9 + 0.1 / 3),
        ([1.0, 1.02, 1.03], 0.8),
        ([1.05, 1.02, 1.03], None),
    ],
)
def test_the_floor_is_where_the_curve_first_costs_too_much(values: list[float], expected: float | None) -> None:
    found = benchmark.lowest_floor([1.0, 0.9, 0.8], values, 1.04)
    assert found == (None if expected is None else pytest.approx(expected))


def test_the_floor_by_the_intervals_upper_end_is_no_lower(rows: list[benchmark.Row]) -> None:
    limit = max(row.bits_vs_top_k for row in rows if row.way == "weight") / 2 - 0.5
    for floor in benchmark.floors(rows, max(limit, 1e-4)):
        assert floor.of_mean is not None
        assert floor.of_high is not None
        assert 0.8 <= floor.of_mean <= floor.of_high <= 1.0


@pytest.mark.slow
def test_command_line(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(benchmark, "WAYS", {"weight": "#0072B2"})
    options = ["--model", str(files / "model"), "--text", str(files / "text.txt"), "--streams", str(STREAMS)]
    options += ["--masses", "1.0,0.9"]

    def run(*more: str) -> int:
        return harness.command(benchmark.main, benchmark.Options, benchmark.__doc__, [*options, *more])

    assert run("--json", "--plot", str(tmp_path / "curve.png")) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["way"] for row in found] == ["weight", "weight", "best alone", "weight"]
    assert set(found[-1]) == {"way", "limit", "of_mean", "of_high"}
    assert (tmp_path / "curve.png").stat().st_size > 1000
    assert run() == 0
    out = capsys.readouterr().out
    assert "loss against top-k" in out
    assert "weight: mass floor that costs 0.5 %:" in out
    assert run("--scenario", "paper") == 2
    assert capsys.readouterr().err.startswith("error: --model in scenario 'paper'")
    assert run("--streams", "99") == 2
    assert "at most --episodes 10 fit" in capsys.readouterr().err
    assert run("--masses", "1.0,0") == 2
    assert "--masses is 1.0,0, expected numbers of more than 0 and at most 1" in capsys.readouterr().err
