"""The whole path: `evaluate.py --model` with a model of a few thousand weights, baselines and agents."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from support.miniature import miniature

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import evaluate  # noqa: E402
from agents.policies.trained import save_policy  # noqa: E402
from agents.sb3.policies import DevicePPOPolicy  # noqa: E402
from evaluation.comparison import LOOP_METRICS, METRICS, compare  # noqa: E402
from evaluation.episodes.contenders import find_contenders  # noqa: E402
from evaluation.episodes.plan import Plan  # noqa: E402
from evaluation.episodes.reader import find_reader  # noqa: E402
from evaluation.report import outputs, upload  # noqa: E402
from wdmoe_env import Scenario, load_scenario  # noqa: E402
from wdmoe_env.envs.codecs import action_codec, observation_codec  # noqa: E402

EPISODES, DOCUMENTS, LENGTH = 8, 6, 24


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """A miniature of 8 experts, read 8 tokens at a time, 3 times."""
    traffic = {"tokens": 8, "passes_per_episode": 3}
    return load_scenario("paper", name="mini", model={"layers": 3}, traffic=traffic, gating={"bank_passes": 4})


@pytest.fixture(scope="module")
def files(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, texts, two runs of an agent, and the scenario, in a folder each."""
    folder = tmp_path_factory.mktemp("loop")
    save_model(folder / "model")
    for index in range(DOCUMENTS):
        (folder / f"{index}.txt").write_text(f"Text {index}: naïve words, again and again.\n" * 2, encoding="utf-8")
    for seed in range(2):
        save_agent(folder / "agent" / f"seed-{seed}", scenario, seed)
    (folder / "mini.yaml").write_text(yaml.safe_dump(scenario.model_dump(mode="json")))
    return folder


def save_model(folder: Path, **changes: Any) -> None:
    shape = {"vocab_size": 259, "num_local_experts": 8, "num_experts_per_tok": 2}
    miniature("mixtral", **{**shape, **changes}).save_pretrained(folder)
    transformers.ByT5Tokenizer(extra_ids=0).save_pretrained(folder)


def save_agent(run: Path, scenario: Scenario, seed: int) -> None:
    """An agent that has learned nothing yet."""
    torch.manual_seed(seed)
    spaces = observation_codec("device", scenario).space, action_codec("price", scenario).space
    network = DevicePPOPolicy(*spaces, lambda _: 0.0, width=8)
    save_policy(run / "best", "ppo", network, 8, scenario)


def arguments(files: Path, out: Path, policies: str = "top-k+bandwidth,random", **changes: str) -> list[str]:
    options = {
        "scenario": str(files / "mini.yaml"),
        "policies": policies,
        "episodes": str(EPISODES),
        "bound-steps": "4",
        "model": str(files / "model"),
        "text": ",".join(str(files / f"{index}.txt") for index in range(DOCUMENTS)),
        "out": str(out),
        **changes,
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


@pytest.fixture(scope="module")
def made(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    assert evaluate.main(arguments(files, out, f"top-k,price,mine={files / 'agent'}")) == 0
    return out


@pytest.mark.slow
def test_losses_are_in_all_results(made: Path) -> None:
    found = json.loads((made / outputs.SUMMARY).read_text())
    policies = found["scenarios"]["mini"]["policies"]
    assert list(policies) == ["top-k", "price", "mine"]
    for metrics in policies.values():
        assert set(metrics) == {*METRICS, *LOOP_METRICS}
        assert 5.0 < metrics["bits_per_byte"]["mean"] < 12.0
    assert policies["top-k"]["bits_vs_top_k"] == {"mean": 1.0, "ci95": [1.0, 1.0], "iqm": 1.0, "iqm_ci95": [1.0, 1.0]}
    low, high = policies["price"]["bits_vs_top_k"]["ci95"]
    assert low < policies["price"]["bits_vs_top_k"]["mean"] < high
    assert policies["price"]["retained_mass"]["mean"] < 0.98
    table = pl.read_parquet(made / outputs.EPISODES)
    assert table.group_by("policy", "run").len().sort("policy", "run")["len"].to_list() == [EPISODES] * 4
    assert {"document", "stream_bytes", *LOOP_METRICS} <= set(table.columns)
    assert "first_pass" not in table.columns
    ratio = table.filter(policy="price")["bits_per_byte"] / table.filter(policy="top-k")["bits_per_byte"]
    np.testing.assert_allclose(table.filter(policy="price")["bits_vs_top_k"], ratio)
    assert scalars(found) == {f"eval/mini/price/{name}" for name in (*METRICS, *LOOP_METRICS)}


def scalars(summary: Any) -> set[str]:
    columns, rows = upload.summary_rows(summary)
    assert rows[1][columns.index("bits_vs_top_k")] is not None
    return {name for name in upload.scalars(summary) if "/price/" in name}


def test_the_summary_says_which_model_and_text(made: Path, files: Path) -> None:
    model = json.loads((made / outputs.SUMMARY).read_text())["meta"]["model"]
    assert (model["name"], model["type"], model["tokenizer"]) == ("model", "mixtral", "ByT5Tokenizer")
    assert set(model["sha256"]) == {"config.json", "model.safetensors"}
    assert [text["name"] for text in model["text"]] == [f"{index}.txt" for index in range(DOCUMENTS)]
    assert model["text"][0]["bytes"] == (files / "0.txt").stat().st_size
    assert model["streams"]["mini"]["intervals_over"] == "documents"
    assert model["streams"]["mini"]["bytes"] == EPISODES * (LENGTH - 1)


def test_the_report_explains_losses(made: Path) -> None:
    html = (made / outputs.REPORT).read_text()
    assert '<th scope="col">bits/byte</th><th scope="col">bits vs top-k</th><th scope="col">perplexity</th>' in html
    assert "<dt>bits/byte</dt>" in html
    assert "How many more bits the real model takes to predict a byte of text" in html
    assert "drawn by the document whose text is read" in html
    assert (made / "mini-loss.png").is_file()


def test_plain_top_k_loses_what_the_untouched_model_loses(made: Path, files: Path, scenario: Scenario) -> None:
    texts = [str(files / f"{index}.txt") for index in range(DOCUMENTS)]
    reader = find_reader(str(files / "model"), texts)
    streams = reader.reading(scenario, Plan(EPISODES)).streams
    ids = torch.as_tensor(streams.tokens)
    with torch.no_grad():
        scores = reader.model.model(ids).logits[:, :-1].log_softmax(dim=-1)
    nats = -scores.gather(2, ids[:, 1:, None])[:, :, 0].double().numpy()
    table = pl.read_parquet(made / outputs.EPISODES).filter(policy="top-k")
    np.testing.assert_allclose(table["bits_per_byte"], nats.sum(axis=1) / np.log(2) / (LENGTH - 1), rtol=1e-5)
    np.testing.assert_allclose(table["perplexity"], np.exp(nats.mean(axis=1)), rtol=1e-4)


@pytest.mark.slow
def test_plain_top_k_is_the_reference_even_if_not_asked_for(files: Path, scenario: Scenario) -> None:
    plan = Plan(4, decisions=2, bound_steps=0)
    reading = find_reader(str(files / "model"), [str(files / "0.txt"), str(files / "1.txt")]).reading(scenario, plan)
    alone = compare(scenario, find_contenders(["price"]), plan, reading=reading)
    both = compare(scenario, find_contenders(["top-k", "price", "again=price"]), plan, reading=reading)
    np.testing.assert_array_equal(alone.results[0].bits_ratio[0], both.results[1].bits_ratio[0])
    np.testing.assert_array_equal(both.results[1].bits_ratio[0], both.results[2].bits_ratio[0])
    assert (alone.results[0].bits_ratio[0] != 1.0).any()


@pytest.mark.slow
def test_json_is_all_that_standard_output_gets(files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([*arguments(files, tmp_path), "--json"]) == 0
    made = json.loads(capfd.readouterr().out)
    assert set(made["scenarios"]["mini"]["policies"]["random"]) == {*METRICS, *LOOP_METRICS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "nope"}, "no model at --model nope: the folder does not exist"),
        ({"model": "{files}"}, "holds no config.json"),
        ({"model": "{files}/dense"}, "the llama model has no mixture-of-experts layers"),
        ({"text": "nope.txt"}, "--text nope.txt cannot be read: No such file"),
        ({"text": ""}, "--text is empty: expected files for the model to read"),
        ({"text": "{files}/0.txt,{files}/0.txt"}, "0.txt twice"),
        ({"text": "{files}/model/model.safetensors"}, "model.safetensors is no UTF-8 text: byte"),
        ({"text": "{files}/0.txt"}, "holds 3 streams of 24 tokens"),
        ({"scenario": "paper"}, "scenario 'paper' is not for this mixtral model: model.layers is 32, expected 3"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str], message: str
) -> None:
    config = transformers.LlamaConfig(
        vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    if "dense" in changed.get("model", ""):
        transformers.LlamaForCausalLM(config).save_pretrained(files / "dense")
    filled = {name: value.format(files=files) for name, value in changed.items()}
    capsys.readouterr()
    assert evaluate.main(arguments(files, tmp_path / "out", **filled)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (tmp_path / "out").exists()


def test_text_without_a_model_is_refused(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--policies", "top-k", "--text", str(files / "0.txt"), "--out", str(tmp_path / "out")]
    assert evaluate.main(options) == 2
    assert "is for a model to read: give its folder with --model" in capsys.readouterr().err


def test_without_transformers_the_extra_is_named(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    for name in [name for name in sys.modules if name.startswith("wdmoe_env.moe.")]:
        monkeypatch.delitem(sys.modules, name)
    assert evaluate.main(arguments(files, tmp_path / "out")) == 2
    assert capsys.readouterr().err == "error: --model needs transformers: pip install -e '.[train,llm]'\n"


def test_a_model_of_our_own_reads_the_rest_of_its_corpus(
    files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from wdmoe_env.moe.small import corpus

    save_model(tmp_path)
    (tmp_path / "bits.json").write_text("{}")
    asked = []

    def texts(part: str) -> list[tuple[str, bytes]]:
        asked.append(part)
        return [("a.py", b"x = 1\n"), ("b.py", "y = 'é'\n".encode())]

    monkeypatch.setattr(corpus, "texts", texts)
    reader = find_reader(str(tmp_path), [])
    assert asked == ["test"]
    assert reader.documents == (("a.py", "x = 1\n"), ("b.py", "y = 'é'\n"))
    assert [text["bytes"] for text in reader.facts["text"]] == [6, 9]
