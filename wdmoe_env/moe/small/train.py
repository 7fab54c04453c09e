"""Train a small mixture-of-experts language model on this machine's Python sources, and measure it on held-out files.

Torch and transformers load when training starts, not for `--help`.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from wdmoe_env.checks import check_fields
from wdmoe_env.files.atomic import tidy
from wdmoe_env.moe.small import corpus
from wdmoe_env.moe.small.options import CHECKPOINT, FREE, RESULT, Options

if TYPE_CHECKING:
    from wdmoe_env.moe.small.loop import Run
    from wdmoe_env.moe.small.trainer import LanguageModelTrainer


def main(options: Options) -> int:
    """Train, measure and print; returns the exit status: 0, or 130 or 143 where a signal stopped it.

    Raises:
        ValueError: an option, the folder or the corpus is not as expected, or the checkpoint is of another run.
        StorageError: the checkpoint is missing or broken, or cannot be written.
        OSError: a file cannot be read or written.
        ImportError: torch or transformers is not installed.
    """
    _check(options)
    console = Console(stderr=True)
    summary = corpus.summary(options.library)
    trainer, run = _prepare(options, summary)
    from wdmoe_env.moe.small.loop import train
    from wdmoe_env.moe.small.report import finish

    console.print(f"{summary.bytes['train']:,} bytes of {summary.files['train']} files to learn", highlight=False)
    stopped = train(trainer, run, console)
    if stopped == 0:
        try:
            finish(options, trainer, run, summary, console)
        except KeyboardInterrupt:
            stopped = 130
    if stopped:
        advice = f"stopped after {trainer.done} of {options.steps} updates; the same command with --resume goes on"
        console.print(advice, soft_wrap=True, highlight=False, markup=False)
    return stopped


def _check(options: Options) -> None:
    """Refuse what can be refused before anything loads or is written."""
    check_fields(options, lambda name: f"--{name.replace('_', '-')}")
    if (options.out / RESULT).exists():
        raise ValueError(f"--out {options.out} holds a finished run, expected a new folder")
    if not options.resume and options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise ValueError(f"--out {options.out} is in use, expected a new folder, or --resume for a run stopped there")


def _prepare(options: Options, summary: corpus.Summary) -> tuple[LanguageModelTrainer, Run]:
    """The trainer and the run, at their start or where a checkpoint left them."""
    import torch

    from wdmoe_env.moe.small.checkpoint import identity_of
    from wdmoe_env.moe.small.loop import Run
    from wdmoe_env.moe.small.model import Architecture
    from wdmoe_env.moe.small.trainer import LanguageModelTrainer, TrainingSchedule

    torch.set_num_threads(options.threads)
    # Sizes and settings that options and these classes share have the same names.
    architecture = Architecture(**_shared(options, Architecture))
    schedule = TrainingSchedule(**_shared(options, TrainingSchedule))
    path, identity = options.out / CHECKPOINT, {**_kept(options), "corpus": summary.sha256}
    if options.resume:
        tidy(options.out)
        _check_same(path, identity_of(path), identity)
    texts = [content for _, content in corpus.texts("train", options.library)]
    trainer = LanguageModelTrainer(architecture, schedule, texts)
    validation = [content for _, content in corpus.texts("validation", options.library)]
    run = Run(path, identity, validation, options.validate_every, options.checkpoint_every)
    if options.resume:
        run.restore(trainer)
    options.out.mkdir(parents=True, exist_ok=True)
    return trainer, run


def _shared(options: Options, kind: type) -> dict[str, Any]:
    """The options that a class of settings has fields for."""
    names = {entry.name for entry in fields(kind)}
    return {name: value for name, value in asdict(options).items() if name in names}


def _kept(options: Options) -> dict[str, Any]:
    """The options that a run keeps to, as plain values."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(options).items()
        if name not in FREE
    }


def _check_same(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if found.get(name) != value:
            what = "another corpus" if name == "corpus" else f"--{name.replace('_', '-')} {found.get(name)}"
            raise ValueError(f"{path} was made with {what}, expected {value}: a run goes on as it was started")
