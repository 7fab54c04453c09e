"""Minari data sets: what was run is what is kept, and it is made again the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

minari = pytest.importorskip("minari")

import gymnasium as gym  # noqa: E402

from evaluation.dataset import PLACE, Options, main, write  # noqa: E402
from evaluation.episodes.errors import EvaluationError  # noqa: E402
from wdmoe_env.envs.infos import KEYS  # noqa: E402


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PLACE, str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_data_sets_of_two_policies(place: Path) -> None:
    names = write(Options(scenario="tiny-moe", policies="random, top-k+bandwidth", episodes=2, out=place))
    assert names == ["wdmoe/tiny-moe/random-v0", "wdmoe/tiny-moe/top-k-bandwidth-v0"]
    first, second = (minari.load_dataset(name) for name in names)
    assert first.total_episodes == second.total_episodes == 2
    env = first.recover_environment()
    assert env.spec.id == "WDMoE-tiny-moe-v0"
    kept: Any = second[0]
    assert len(kept.rewards) == 32
    np.testing.assert_array_equal(kept.observations[0], gym.make("WDMoE-tiny-moe-v0").reset(seed=0)[0])
    told = kept.infos["metrics"]  # the slash of a key makes a group of HDF5
    assert set(told) == set(KEYS)
    assert np.isnan(told["latency"][0])
    np.testing.assert_allclose(told["reward"][1:], kept.rewards)
    env.reset(seed=0)
    replayed = [env.step(action)[1] for action in kept.actions]
    np.testing.assert_array_equal(kept.rewards, replayed)
    assert kept.rewards.mean() > 1.2
    with pytest.raises(EvaluationError, match="is there already: give another --version"):
        write(Options(scenario="tiny-moe", policies="random", episodes=1, out=place))


@pytest.mark.slow
def test_other_encodings(place: Path) -> None:
    options = Options(policies="wdmoe", episodes=1, action="native", observation="flat", version=3, out=place)
    (name,) = write(options)
    assert name == "wdmoe/paper/wdmoe-v3"
    kept = minari.load_dataset(name)[0]
    assert set(kept.actions) == {"selection", "bandwidth"}
    assert kept.observations.shape[0] == 33


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"episodes": 0}, "--episodes is 0"),
        ({"action": "mine"}, "--action is 'mine', expected one of native"),
        ({"scenario": "papr"}, "unknown scenario 'papr'"),
        ({"policies": "wdmo"}, "wdmo"),
        ({"policies": " , "}, "no policies given"),
    ],
)
def test_wrong_options_are_named(options: Any, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        write(Options(**options))


def test_the_command_line_prints_names_or_what_is_wrong(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(Options(scenario="tiny-moe", policies="random", episodes=1, version=7)) == 0
    assert capsys.readouterr().out.strip() == "wdmoe/tiny-moe/random-v7"
    assert main(Options(episodes=0)) == 2
    assert "error: --episodes is 0" in capsys.readouterr().err
