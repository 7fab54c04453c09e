import gzip
import json
import lzma
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.library import SIZES, source, write_library

from wdmoe_env.files.safe import StorageError
from wdmoe_env.moe.__main__ import main as command_line
from wdmoe_env.moe.small import bits, corpus
from wdmoe_env.moe.small.model import load, score
from wdmoe_env.moe.small.options import CHECKPOINT, Options
from wdmoe_env.moe.small.train import main
from wdmoe_env.moe.small.trainer import LanguageModelTrainer


@pytest.fixture
def options(tmp_path: Path) -> Options:
    write_library(tmp_path / "library")
    settings: dict[str, Any] = {**SIZES, "steps": 30, "warm_up": 4, "validate_every": 10, "threads": 1, "ngram": 8}
    return Options(tmp_path / "out", library=tmp_path / "library", adam_rate=0.01, muon_rate=0.05, **settings)


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that lets a signal come during an update."""

    def arrange(update: int, number: int) -> None:
        step = LanguageModelTrainer.step

        def interrupted(trainer: LanguageModelTrainer) -> float:
            if trainer.done + 1 == update:
                os.kill(os.getpid(), number)
            return step(trainer)

        monkeypatch.setattr(LanguageModelTrainer, "step", interrupted)

    return arrange


@pytest.mark.slow
def test_a_run_leaves_a_model_and_its_bits(options: Options, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options) == 0
    result = json.loads((options.out / "bits.json").read_text())
    test = corpus.texts("test", options.library)
    size = sum(len(content) for _, content in test)
    measured = sum(score(load(options.out), [content for _, content in test])) / size
    assert result["model"]["bits_per_byte"] == result["bits_per_byte"]["the model"] == pytest.approx(measured)
    assert result["model"]["bits_per_byte_with_first_expert_alone"] != pytest.approx(measured, rel=1e-6)
    assert [row["file"] for row in result["files"]] == [name for name, _ in test]
    assert sum(row["model"] * row["bytes"] for row in result["files"]) / size == pytest.approx(measured)
    n_gram = result["n_gram"]
    assert n_gram["validation"].index(min(n_gram["validation"])) == n_gram["longest"]
    assert n_gram["test"][n_gram["longest"]] < n_gram["test"][0] / 2
    assert [row["update"] for row in result["training"]["history"]] == [10, 20, 30]
    assert result["training"]["history"][-1]["validation"] < 7
    assert result["corpus"] == corpus.summary(options.library).to_dict()
    assert (result["seed"], result["config"]["steps"]) == (0, 30)
    assert {"python", "torch", "transformers", "numpy"} <= set(result["versions"])
    assert list(result["bits_per_byte"].values()) == sorted(result["bits_per_byte"].values())
    printed = capsys.readouterr().out
    assert all(f"{value:.4f}" in printed for value in result["bits_per_byte"].values())
    assert not (options.out / CHECKPOINT).exists()


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_model(options: Options, stop_at: Any, tmp_path: Path) -> None:
    assert main(replace(options, out=tmp_path / "straight")) == 0
    stop_at(13, signal.SIGTERM)
    assert main(options) == 143
    assert sorted(entry.name for entry in options.out.iterdir()) == [CHECKPOINT]
    assert main(replace(options, resume=True)) == 0
    straight, resumed = (load(folder).state_dict() for folder in (tmp_path / "straight", options.out))
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    results = [json.loads((folder / "bits.json").read_text()) for folder in (tmp_path / "straight", options.out)]
    assert results[0]["bits_per_byte"] == results[1]["bits_per_byte"]
    assert [row["update"] for row in results[1]["training"]["history"]] == [10, 20, 30]


@pytest.mark.slow
def test_an_interrupted_measurement_is_made_on_resume(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(bits, "n_gram", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(options) == 130
    assert not (options.out / "bits.json").exists()
    assert main(replace(options, resume=True)) == 0
    assert (options.out / "bits.json").exists()


def test_what_a_resumed_run_cannot_change_is_named(options: Options, stop_at: Any) -> None:
    stop_at(3, signal.SIGINT)
    assert main(options) == 130
    path = options.out / CHECKPOINT
    with pytest.raises(ValueError, match=f"{path} was made with --muon-rate 0.05, expected 0.1: a run goes on"):
        main(replace(options, resume=True, muon_rate=0.1))
    assert options.library is not None
    (options.library / "another.py").write_bytes(source(99))
    with pytest.raises(ValueError, match=f"{path} was made with another corpus"):
        main(replace(options, resume=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 0}, "--threads is 0, expected a whole number of at least 1"),
        ({"validate_every": 0}, "--validate-every is 0, expected"),
        ({"ngram": -1}, "--ngram is -1, expected"),
        ({"steps": 0}, "steps is 0, expected a whole number of at least 1"),
        ({"hidden": 15}, "hidden is 15, expected a multiple of"),
        ({"library": Path("nowhere")}, "nowhere holds no Python sources for the part 'train'"),
    ],
)
def test_options_that_cannot_be_leave_nothing_behind(options: Options, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(replace(options, **change))
    assert not options.out.exists()


def test_nothing_to_resume_leaves_nothing_behind(options: Options) -> None:
    with pytest.raises(StorageError, match="checkpoint does not exist, expected the checkpoint of a run that was"):
        main(replace(options, resume=True))
    assert not options.out.exists()


@pytest.mark.slow
def test_a_run_killed_while_it_saved_goes_on(options: Options, stop_at: Any) -> None:
    stop_at(3, signal.SIGINT)
    assert main(options) == 130
    # Between the two renames, with what the save of a model left.
    (options.out / CHECKPOINT).rename(options.out / f".{CHECKPOINT}.old")
    (options.out / ".model.part").mkdir()
    assert main(replace(options, resume=True)) == 0
    assert not list(options.out.glob(".*"))


def test_a_folder_in_use_is_left_alone(options: Options) -> None:
    options.out.mkdir()
    (options.out / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=f"--out {options.out} is in use, expected a new folder, or --resume"):
        main(options)
    (options.out / "bits.json").write_text("{}")
    with pytest.raises(ValueError, match=f"--out {options.out} holds a finished run"):
        main(replace(options, resume=True))
    assert (options.out / "notes.txt").read_text() == "mine"


def test_compressors_are_those_of_the_standard_library() -> None:
    texts = [("a", b"abc" * 100), ("b", b""), ("c", bytes(range(256)))]
    everything = b"".join(content for _, content in texts)
    found = bits.compressed(texts)
    each = sum(len(gzip.compress(content, 9)) for _, content in texts)
    assert found["gzip -9, each file"] == pytest.approx(8 * each / 556)
    whole = lzma.compress(everything, preset=9 | lzma.PRESET_EXTREME)
    assert found["xz -9e, all in a row"] == pytest.approx(8 * len(whole) / 556)
    assert found["xz -9e, all in a row"] < found["xz -9e, each file"]
    with pytest.raises(ValueError, match="the texts hold no bytes"):
        bits.compressed([("a", b"")])


@pytest.mark.slow
def test_the_command_line_trains_what_capture_reads(
    options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [text for name, value in SIZES.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    settings = ["--steps", "3", "--library", str(options.library), "--threads", "1", "--ngram", "2"]
    assert command_line(["train", "--out", str(options.out), *settings, *words]) == 0
    (tmp_path / "text.py").write_bytes(source(7))
    trace = tmp_path / "trace.safetensors"
    texts = ["--text", str(tmp_path / "text.py"), "--tokens", "16"]
    assert command_line(["capture", "--model", str(options.out), *texts, "--out", str(trace)]) == 0
    assert trace.stat().st_size > 0
    capsys.readouterr()
    assert command_line(["train", "--out", str(options.out), *settings, *words]) == 2
    assert capsys.readouterr().err == f"error: --out {options.out} holds a finished run, expected a new folder\n"
