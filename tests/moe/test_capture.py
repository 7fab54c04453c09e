"""Captured gate weights are those of the model, and lead to an episode; what does not fit is refused in one line."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from support.miniature import miniature, save_bytes
from support.toy import random_decision, toy

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from wdmoe_env import Simulator  # noqa: E402
from wdmoe_env.gating.trace import open_trace  # noqa: E402
from wdmoe_env.moe import contexts  # noqa: E402
from wdmoe_env.moe.__main__ import LINE, main  # noqa: E402
from wdmoe_env.moe.routers import Routers  # noqa: E402

ONE, TWO = "a" * 3 + "bcdefgh" * 9 + "ä", "Zwei\n" * 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bytes(tmp_path_factory.mktemp("mixtral"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two texts: 68 and 55 bytes."""
    monkeypatch.chdir(tmp_path)
    Path("one.txt").write_text(ONE, encoding="utf-8")
    Path("two.txt").write_text(TWO, encoding="utf-8")
    return tmp_path


def capture(folder: Path, *options: str, out: str = "t.safetensors") -> int:
    command = ["capture", "--model", str(folder), "--text", "one.txt", "two.txt", "--out", out]
    return main([*command, "--context", "16", *options])


def softmax(model: Any, ids: list[int]) -> Any:
    """Router softmax of one context, run for itself: (tokens, layers, experts)."""
    seen: list[Any] = []
    with torch.no_grad(), Routers(model).intercept(lambda layer, weights: seen.append(weights)):
        model(torch.tensor([ids]))
    return torch.stack(seen, dim=1).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["1", "3"])
def test_weights_are_those_of_each_context_run_alone(folder: Path, place: Path, batch: str) -> None:
    assert capture(folder, "--dtype", "float32", "--batch", batch) == 0
    trace = open_trace("t.safetensors")
    one, two = ONE.encode(), TWO.encode()
    turns = [one[:16], two[:16], one[16:32], two[16:32], one[32:48], two[32:48], one[48:64], two[48:], one[64:]]
    assert [stop - start for start, stop in trace.documents] == [len(piece) for piece in turns]
    assert (trace.layers, trace.experts, trace.top_k, trace.tokens) == (3, 6, 3, 123)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    for (start, stop), piece in zip(trace.documents, turns, strict=True):
        expected = softmax(model, [byte + 3 for byte in piece])
        np.testing.assert_allclose(trace.read(start, stop), expected, atol=1e-6)


@pytest.mark.slow
def test_sixteen_bits_are_rounded_and_no_more(folder: Path, place: Path) -> None:
    assert capture(folder) == capture(folder, "--dtype", "float32", out="full.safetensors") == 0
    half, full = open_trace("t.safetensors"), open_trace("full.safetensors")
    np.testing.assert_allclose(half.read(0, 123), full.read(0, 123), rtol=2e-3, atol=1e-6)
    assert Path("t.safetensors").stat().st_size < Path("full.safetensors").stat().st_size


def test_the_header_tells_where_weights_come_from(folder: Path, place: Path) -> None:
    assert capture(folder, "--tokens", "50") == 0
    metadata = open_trace("t.safetensors").metadata
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert json.loads(metadata["model_sha256"])["model.safetensors"] == weights
    assert json.loads(metadata["data"])[1] == {"file": "two.txt", "sha256": hashlib.sha256(TWO.encode()).hexdigest()}
    assert {"python", "torch", "transformers", "wdmoe-env"} <= set(json.loads(metadata["versions"]))
    expected = {"model": folder.name, "model_type": "mixtral", "tokenizer": "ByT5Tokenizer", "renormalised": "true"}
    assert expected.items() <= metadata.items()
    texts = "--text one.txt two.txt --out t.safetensors --tokens 50 --context 16"
    assert metadata["command"] == f"python -m wdmoe_env.moe capture --model {folder} {texts}"


def test_few_tokens_are_of_all_texts(folder: Path, place: Path) -> None:
    assert capture(folder, "--tokens", "50") == 0
    trace = open_trace("t.safetensors")
    assert [stop - start for start, stop in trace.documents] == [16, 16, 16, 2]
    assert trace.tokens == 50


def test_contexts_begin_as_the_tokenizer_begins_texts_but_that_token_is_not_kept(place: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = Tokenizer(models.WordLevel({"<s>": 1, "a": 3, "b": 4, "?": 5}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    miniature("olmoe").save_pretrained(place / "olmoe")
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>").save_pretrained(place / "olmoe")
    Path("one.txt").write_text("a b b a a b a b")
    Path("two.txt").write_text("b b b")
    assert capture(place / "olmoe", "--context", "5", "--dtype", "float32") == 0
    trace = open_trace("t.safetensors")
    turns = [[3, 4, 4, 3, 3], [4, 4, 4], [4, 3, 4]]
    for (start, stop), ids in zip(trace.documents, turns, strict=True):
        np.testing.assert_allclose(trace.read(start, stop), softmax(miniature("olmoe"), [1, *ids])[1:], atol=1e-6)
    assert trace.metadata["renormalised"] == "false"


def test_from_a_model_to_an_episode(folder: Path, place: Path) -> None:
    """The whole path: capture, a scenario with the trace, the simulator, one episode."""
    assert capture(folder) == 0
    gating = {"trace": "t.safetensors", "bank_passes": 8}
    scenario = toy(experts=6, top_k=3, layers=3, tokens=7, gating=gating)
    simulator, rng = Simulator(scenario, 2, "test"), np.random.default_rng(0)
    observation, rewards = simulator.reset(0), []
    everything = open_trace("t.safetensors").read(0, 123).reshape(-1, 6)
    for _ in range(scenario.steps_per_episode):
        token = observation.gate_weights[0, 0]
        assert np.abs(everything - token).max(axis=1).min() < 1e-6
        outcome = simulator.step(random_decision(scenario, 2, rng))
        observation = outcome.observation
        rewards.append(outcome.reward)
    assert outcome.truncated.all()
    assert np.isfinite(rewards).all()


def copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def without_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.rename(folder / "pytorch_model.bin")


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def without_one_matrix(folder: Path) -> None:
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    gone = next(name for name in tensors if "layers.1." in name and "experts.3.w2" in name)
    del tensors[gone]
    save_file(tensors, weights, metadata={"format": "pt"})


def change(folder: Path, **values: Any) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **values}))


def not_a_number(folder: Path) -> None:
    model = miniature("mixtral", vocab_size=259)
    model.model.layers[1].mlp.gate.weight.data[0, 0] = torch.nan
    model.save_pretrained(folder)


BROKEN: dict[str, tuple[Any, str]] = {
    "empty": (lambda f: [file.unlink() for file in f.iterdir()], "cannot be loaded as a tokenizer"),
    "no configuration": (lambda f: (f / "config.json").unlink(), "holds no config.json, expected the folder of a Hug"),
    "no safetensors": (without_weights, "holds no weights as .safetensors; other formats are not read"),
    "cut short": (cut_short, "cannot be loaded as a language model: SafetensorError"),
    "more layers": (lambda f: change(f, num_hidden_layers=4), "lacks 9 tensors of its model, such as model.layers.3."),
    "another shape": (
        lambda f: change(f, vocab_size=260),
        r"has another shape of 2 tensors of its model, such as lm_head.weight: \(259, 16\), expected \(260, 16\)",
    ),
    "one matrix of one expert": (
        without_one_matrix,
        r"lacks 1 tensors of its model, such as model\.layers\.1\..*experts\.3\.w2\.weight",
    ),
    "other code": (
        lambda f: change(f, model_type="mine", auto_map={"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.M"}),
        "cannot be loaded as a language model: ValueError: .* contains custom code",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer_config.json").unlink(), "cannot be loaded as a tokenizer"),
    "tokens": (lambda f: save_bytes(f, model=miniature("mixtral")), "gives token .*, but its model knows 37 tokens"),
    "not a number": (not_a_number, "cannot be used: its scores, such as nan"),
    "dense": (lambda f: save_bytes(f, model=dense()), "the llama model has no mixture-of-experts layers"),
}


def dense() -> Any:
    sizes = {"vocab_size": 259, "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2)
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BROKEN)
def test_models_that_do_not_fit(folder: Path, place: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    spoil, message = BROKEN[kind]
    spoil(copy(folder, place / "model"))
    refused(capsys, capture(place / "model"), message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--context", "1"), "--context is 1, expected at least 2"),
        (("--context", "65", "--text", "one.txt"), "--context is 65, but .* reads at most 64 tokens at once"),
        (("--batch", "0"), "--batch is 0, expected at least 1"),
        (("--tokens", "0"), "--tokens is 0, expected at least 1"),
        (("--out", "t.bin"), "--out is t.bin, expected a name that ends in .safetensors"),
        (("--out", "there.safetensors"), "--out there.safetensors exists"),
        (("--out", "nowhere/t.safetensors"), "--out nowhere/t.safetensors: there is no folder nowhere"),
        (("--text", "three.txt"), "--text three.txt cannot be read: No such file"),
        (("--text", "bytes.txt"), "--text bytes.txt is no UTF-8 text: byte 2 is invalid start byte"),
        (("--text", "empty.txt"), "--text empty.txt holds no tokens"),
        (("--device", "abacus"), "cannot be loaded as a language model: RuntimeError: .*abacus"),
    ],
)
def test_options_that_do_not_fit(
    folder: Path, place: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    Path("bytes.txt").write_bytes(b"ab\xff")
    Path("empty.txt").touch()
    Path("there.safetensors").write_text("dear")
    refused(capsys, capture(folder, *options), message)
    assert Path("there.safetensors").read_text() == "dear"


def test_large_texts_are_not_read(folder: Path, place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "MAX_TEXT_BYTES", 67)
    refused(capsys, capture(folder), "--text one.txt has 68 bytes, expected at most 67")


def test_what_does_not_fit_in_memory_is_refused(
    folder: Path, place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wdmoe_env.moe.capture.MAX_BYTES", 4427)
    refused(capsys, capture(folder), "123 tokens of 3 layers and 6 experts take .* GB, expected at most .* --tokens")


def refused(capsys: pytest.CaptureFixture[str], status: int, message: str) -> None:
    errors = [line for line in capsys.readouterr().err.splitlines() if "tokens ━" not in line and line.strip()]
    assert status == 2
    assert len(errors) == 1, errors
    assert re.search(rf"^error: .*{message}", errors[0]), errors
    assert not list(Path().glob("*t.safetensors*"))


def test_the_command_line_names_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == main([]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in LINE.commands)
    assert main(["conquer"]) == 2
    assert capsys.readouterr().err == f"error: unknown command 'conquer', expected one of {', '.join(LINE.commands)}\n"
