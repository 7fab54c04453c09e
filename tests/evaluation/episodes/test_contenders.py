from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import baselines
from evaluation.episodes.contenders import check_fit, find_contenders
from evaluation.episodes.errors import EvaluationError
from wdmoe_env import Policy, Scenario


class StorageError(Exception):
    pass


class Picky:
    name = "picky"

    def __init__(self, transfer: bool = False) -> None:
        self.transfer = transfer

    def reset(self, scenario: Scenario, num_envs: int) -> None:
        raise ValueError("model.layers was 32, and is 2 here")


def pretrained(algo: str, transfer: bool = False) -> Policy:
    if algo != "ppo":
        raise ValueError(f"no policy of {algo!r} is shipped")
    return Picky(transfer)  # type: ignore[return-value]


def load(run_dir: Path, transfer: bool = False) -> Policy:
    if "broken" in str(run_dir):
        raise StorageError("no policy.json in it")
    return Picky(transfer) if "picky" in str(run_dir) else baselines.make("random")  # type: ignore[return-value]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(
        sys.modules, "agents", SimpleNamespace(load=load, pretrained=pretrained, StorageError=StorageError)
    )
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "set/seed-0", "set/seed-1", "broken", "picky"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_baselines_runs_sets_and_labels(runs: Path) -> None:
    found = find_contenders(["top-k", "top-k+bandwidth", "mine", "./set", "other=mine", f"{runs}/mine/../picky"])
    assert [contender.name for contender in found] == ["top-k", "top-k+bandwidth", "mine", "set", "other", "picky"]
    assert [len(contender.policies) for contender in found] == [1, 1, 1, 2, 1, 1]
    assert found[3].run_dirs == (Path("set/seed-0"), Path("set/seed-1"))
    assert found[0].run_dirs == ()
    assert [contender.trained for contender in found] == [False, False, True, True, True, True]


OWN = """
from baselines.top_k import TopK

class Mine(TopK):
    name = "mine-too"

class Asks(TopK):
    def __init__(self, theta): ...

class NoPolicy: ...

class Picky:
    def __init__(self):
        raise ValueError("the moon is not full")
"""


@pytest.fixture
def own_module(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (runs / "own_policies.py").write_text(OWN)
    yield
    sys.modules.pop("own_policies", None)


@pytest.mark.usefixtures("own_module")
def test_a_class_of_a_module_in_the_working_directory() -> None:
    found = find_contenders(["own_policies:Mine", "other=own_policies:Mine", "top-k"])
    assert [contender.name for contender in found] == ["mine-too", "other", "top-k"]
    assert type(found[0].policies[0]).__name__ == "Mine"
    assert not found[0].trained


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("own_policies:Nobody", "policy own_policies:Nobody: module 'own_policies' has no attribute 'Nobody'"),
        ("own_policies:Asks", "own_policies:Asks cannot be made without arguments: .*'theta'"),
        ("own_policies:NoPolicy", "own_policies:NoPolicy makes <.*, expected a Policy: name, reset and decide"),
        ("own_policies:Picky", "policy own_policies:Picky: the moon is not full"),
        ("no_such_module:Mine", "policy no_such_module:Mine: module 'no_such_module' cannot be imported"),
    ],
)
def test_a_class_that_is_no_policy(source: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        find_contenders([source])


def test_a_shipped_policy_is_trained_and_has_no_run(runs: Path) -> None:
    found = find_contenders(["pretrained:ppo", "other=pretrained:ppo"])
    assert [contender.name for contender in found] == ["ppo", "other"]
    assert [contender.source for contender in found] == ["pretrained:ppo", "other=pretrained:ppo"]
    assert all(contender.trained and not contender.run_dirs for contender in found)


@pytest.mark.parametrize("transfer", [False, True])
def test_transfer_reaches_what_is_trained(runs: Path, transfer: bool) -> None:
    found = find_contenders(["picky", "pretrained:ppo", "top-k"], transfer)
    assert [contender.policies[0].transfer for contender in found[:2]] == [transfer, transfer]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "no policies given"),
        (["nope"], "baseline is 'nope', expected one of top-k"),
        (["runs/nope"], "no trained run at 'runs/nope'"),
        (["./broken"], "cannot load the trained run 'broken': no policy.json in it"),
        (["mine", "./mine"], "more than one policy is called 'mine': tell them apart with LABEL=POLICY"),
        (["label="], "policy 'label=' is empty"),
        (["pretrained:dqn"], "no policy pretrained:dqn: no policy of 'dqn' is shipped"),
    ],
)
def test_what_cannot_be_compared(runs: Path, sources: list[str], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        find_contenders(sources)


def test_a_run_of_another_scenario_is_found_at_once(runs: Path, tiny: Scenario) -> None:
    with pytest.raises(EvaluationError, match=r"'picky' cannot run in scenario 'tiny': model.layers was 32"):
        check_fit(find_contenders(["top-k", "picky"]), [tiny])
    with pytest.raises(EvaluationError, match=r"'ppo' cannot run in scenario 'tiny'"):
        check_fit(find_contenders(["pretrained:ppo"]), [tiny])


def test_a_shipped_policy_that_is_broken_is_found_at_once(
    runs: Path, tiny: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise StorageError("policy.json is cut short")

    monkeypatch.setattr(Picky, "reset", broken)
    with pytest.raises(EvaluationError, match=r"'ppo' cannot run in scenario 'tiny': policy.json is cut short"):
        check_fit(find_contenders(["pretrained:ppo"]), [tiny])
