"""Model cards: every shipped policy has one, and it tells of the policy that lies beside it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agents.policies.shipped import FOLDER
from evaluation import cards
from evaluation.cards import CARD, card, main, write_cards

POLICIES = sorted(path for path in FOLDER.iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", POLICIES, ids=lambda folder: folder.name)
def test_every_shipped_policy_has_the_card_of_itself(folder: Path) -> None:
    policy, text = json.loads((folder / "policy.json").read_text()), (folder / CARD).read_text(encoding="utf-8")
    assert text.startswith("---\nlicense: apache-2.0")
    for told in (
        f"# {folder.name}\n",
        policy["command"],
        policy["git_revision"][:12],
        f"{policy['validation_reward']:.3f}",
    ):
        assert told in text
    assert "| `constant-price` |" in text
    assert "/tmp" not in text


def summary(name: str = "ppo", source: str = "pretrained:ppo") -> dict[str, Any]:
    def of(value: float) -> dict[str, Any]:
        return {"mean": value, "ci95": [value - 0.1, value + 0.1]}

    found = {"reward": of(1.5), "latency_vs_top_k": of(0.5), "retained_mass": of(0.95)}
    return {
        "meta": {
            "policies": {name: {"source": source}},
            "seeds": {"episodes": 7},
            "command": "python evaluate.py --scenario paper --out here",
        },
        "scenarios": {
            "paper": {
                "policies": {"constant-price": found, name: found},
                "reward_vs": {name: {"constant-price": {"change": 0.031, "ci95": [0.028, 0.034]}}},
            }
        },
    }


def test_a_card_tells_what_was_found() -> None:
    found = summary()
    text = card(FOLDER / "paper-ppo", "ppo", found["scenarios"]["paper"], found["meta"])
    assert "7 held-out episodes" in text
    assert "| `ppo` | 1.500 (1.400 to 1.600) | 0.500 | 0.950 |" in text
    assert "3.1 % (2.8 to 3.4) more than `constant-price`" in text
    assert "`python evaluate.py --scenario paper`" in text


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"summary\.json cannot be read"):
        write_cards([tmp_path])
    (tmp_path / "summary.json").write_text(json.dumps(summary("mine", "runs/mine")))
    with pytest.raises(ValueError, match="no policy that is shipped"):
        write_cards([tmp_path])


def test_cards_are_written_beside_their_policies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FOLDER / "paper-ppo", tmp_path / "paper-ppo")
    (tmp_path / "paper-ppo" / CARD).unlink()
    monkeypatch.setattr(cards, "FOLDER", tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps(summary()))
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "paper-ppo" / CARD)
    assert "7 held-out episodes" in (tmp_path / "paper-ppo" / CARD).read_text()


def test_the_command_line_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 2
    assert "summary.json cannot be read" in capsys.readouterr().err
