"""A mixture-of-experts language model from a local folder, as Hugging Face's `save_pretrained` writes it.

Nothing is downloaded, no code of the folder is run, and weights are read from safetensors files alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

CONFIG = "config.json"
SHOWN = 300
"""Characters of a library's message that an error repeats."""


@dataclass(frozen=True)
class LocalModel:
    """A model that was read from a folder.

    Attributes:
        model: a transformers causal language model in evaluation mode, in the precision that its file has.
        tokenizer: what was saved beside it.
        facts: name, type, sha256 of configuration and weights, and with what it was loaded.
    """

    model: Any
    tokenizer: Any
    facts: dict[str, str]


def open_model(folder: Path) -> LocalModel:
    """Load a model and its tokenizer; on the first GPU if torch has one.

    Raises:
        ValueError: there is no model, no tokenizer, or a file is broken or not complete; says which.
    """
    if not folder.is_dir():
        raise ValueError(f"no model at {str(folder)!r}: the folder does not exist")
    if not (folder / CONFIG).is_file():
        raise ValueError(f"no model at {str(folder)!r}: there is no {CONFIG}, expected what save_pretrained writes")
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with _quiet(), _blaming(folder, "model"):
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", use_safetensors=True, output_loading_info=True, **local
        )
    # Weights that a file lacks are drawn at random, with no more than a warning.
    if missing := sorted({*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])}):
        raise ValueError(f"the model in {str(folder)!r} lacks {len(missing)} of its weights, such as {missing[0]}")
    with _quiet(), _blaming(folder, "tokenizer"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **local)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.config.output_router_logits = False
    facts = {
        "name": folder.resolve().name,
        "type": str(model.config.model_type),
        "config_sha256": _sha256(folder / CONFIG),
        "weights_sha256": _weights_sha256(folder),
        "tokenizer": type(tokenizer).__name__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": device.type,
        "transformers": transformers.__version__,
    }
    return LocalModel(model.to(device).eval(), tokenizer, facts)


@contextmanager
def _blaming(folder: Path, what: str) -> Iterator[None]:
    """Turn what transformers raises for broken files into one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())[:SHOWN]
        raise ValueError(f"cannot load the {what} in {str(folder)!r}: {said}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no warnings while files are read; settings of the library stay as they are."""
    log: Any = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _weights_sha256(folder: Path) -> str:
    """Digest of the one file of weights, or over names and digests of all."""
    files = sorted(folder.glob("*.safetensors"))
    digests = {file.name: _sha256(file) for file in files}
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
