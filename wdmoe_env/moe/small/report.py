"""The end of a run: save the model, measure what was saved, compare, write `bits.json`, print."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from wdmoe_env.files.atomic import write_text
from wdmoe_env.files.provenance import git_revision, versions
from wdmoe_env.moe.small import bits, corpus
from wdmoe_env.moe.small.model import load, save, score
from wdmoe_env.moe.small.options import RESULT, Options
from wdmoe_env.moe.small.routing import first_expert_bits, router_statistics

if TYPE_CHECKING:
    from wdmoe_env.moe.small.loop import Run
    from wdmoe_env.moe.small.trainer import LanguageModelTrainer

SCORING = (
    "windows of `context` bytes, half a window apart; every byte once, after at least half a window of its file or "
    "after all of it; a file begins after an end-of-text token; probabilities over all tokens of the vocabulary"
)


def finish(
    options: Options, trainer: LanguageModelTrainer, run: Run, summary: corpus.Summary, console: Console
) -> None:
    """Save and measure a trained model; the checkpoint goes when the result is written."""
    started = time.monotonic()
    save(trainer.model, options.out)
    model = load(options.out)
    train, validation, test = (corpus.texts(part, options.library) for part in corpus.PARTS)
    contents = [content for _, content in test]
    console.print("measuring the test files: model, n-gram model, gzip, xz", highlight=False)
    own = score(model, contents)
    single = first_expert_bits(model, contents)
    counted = bits.n_gram(train, validation, test, options.ngram)
    found = bits.comparison(bits.per_byte(own, test), counted, bits.compressed(test))
    result = {
        "bits_per_byte": found,
        "model": {
            "bits_per_byte": bits.per_byte(own, test),
            "bits_per_byte_with_first_expert_alone": bits.per_byte(single, test),
            "parameters": _parameters(model),
            **router_statistics(model, contents),
        },
        "scoring": SCORING,
        "n_gram": {"longest": counted.longest, "validation": counted.validation, "test": counted.test},
        "files": bits.rows(test, own, counted),
        "training": {"seconds": run.seconds, "bytes": _bytes_seen(trainer), "history": run.history},
        "measuring_seconds": time.monotonic() - started,
        "corpus": summary.to_dict(),
        **_provenance(options),
    }
    write_text(options.out / RESULT, json.dumps(result, indent=1, allow_nan=False) + "\n")
    shutil.rmtree(run.path, ignore_errors=True)
    show(found, result["model"], options.out)


def show(found: dict[str, float], model: dict[str, Any], out: Path) -> None:
    """Print the comparison and what the routers do."""
    table = Table("test files, held out", "bits per byte", "against the model")
    own = model["bits_per_byte"]
    for name, value in found.items():
        table.add_row(name, f"{value:.4f}", f"{value / own - 1:+.1%}" if name != bits.MODEL else "")
    console = Console()
    console.print(table)
    first = sum(model["first_weight"]) / len(model["first_weight"])
    single = model["bits_per_byte_with_first_expert_alone"]
    lines = (
        f"a token's first expert weighs {first:.3f} on average; with it alone {single:.4f} bits per byte",
        f"{model['parameters']['all']:,} parameters, {model['parameters']['active']:,} of them for one token; {out}",
    )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _parameters(model: Any) -> dict[str, int]:
    """Parameters of the model, and those that one token uses; shared embeddings count once."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    experts = sum(size for name, size in sizes.items() if ".experts." in name)
    used = experts * model.config.num_experts_per_tok // model.config.num_local_experts
    return {"all": sum(sizes.values()), "active": sum(sizes.values()) - experts + used}


def _bytes_seen(trainer: LanguageModelTrainer) -> int:
    return trainer.schedule.steps * trainer.schedule.batch * trainer.architecture.context


def _provenance(options: Options) -> dict[str, Any]:
    config = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
    return {
        "config": config,
        "seed": options.seed,
        "versions": {**versions(), "transformers": version("transformers")},
        "revision": git_revision(),
        "command": shlex.join([sys.executable, *sys.orig_argv[1:]]),
    }
