"""A mixture-of-experts model and its tokenizer from a folder: nothing is downloaded, and no code of theirs runs."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from wdmoe_env.files.safe import StorageError, read_json

Precision = Literal["float32", "stored"]
LOCAL: Any = {"local_files_only": True, "trust_remote_code": False}
_BLOCK = 2**22
_EXPERT = re.compile(r"(.*\.experts\.)(\d+)(\..*)")


def load_model(folder: Path, precision: Precision, device: str) -> Any:
    """Load a causal language model of safetensors files, in evaluation mode.

    Args:
        folder: as `save_pretrained` writes it.
        precision: what it computes in: float32, or the type that its weights are stored in.
        device: of torch, such as cpu or cuda.

    Raises:
        ValueError: there is no such model, weights are missing or of another shape, or it needs code of its own.
    """
    _quiet()
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no config.json, expected the folder of a Hugging Face model")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{folder} holds no weights as .safetensors; other formats are not read")
    dtype: Any = torch.float32 if precision == "float32" else "auto"
    # Or the library raises, and refers to a report that it logs.
    told = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    options: Any = {"use_safetensors": True, "dtype": dtype, **told, **LOCAL}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, **options)
        model, report = loaded[0].to(device).eval(), loaded[1]
    except Exception as error:  # whatever a broken or foreign folder makes the library raise
        raise ValueError(f"{folder} cannot be loaded as a language model: {_said(error)}") from error
    # The library fills with random numbers what is missing or of another shape.
    lacking = sorted(map(str, report.get("missing_keys") or ()))
    if mismatched := sorted(report.get("mismatched_keys") or ()):
        # Experts are stacked when they are loaded: where one is missing, the stack is too small.
        lacking += missing_experts(folder)
        if not lacking:
            name, found, expected = mismatched[0]
            raise ValueError(
                f"{folder} has another shape of {len(mismatched)} tensors of its model, such as {name}: "
                f"{tuple(found)}, expected {tuple(expected)}"
            )
    if lacking:
        raise ValueError(f"{folder} lacks {len(lacking)} tensors of its model, such as {lacking[0]:.160}")
    return model


def missing_experts(folder: Path) -> list[str]:
    """Names of tensors of single experts that a model's files lack, in the place of which there are those of others."""
    there: dict[tuple[str, str], set[int]] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for found in filter(None, map(_EXPERT.fullmatch, file.keys())):
                there.setdefault((found[1], found[3]), set()).add(int(found[2]))
    count = max((max(indices) for indices in there.values()), default=-1) + 1
    return sorted(
        f"{before}{index}{after}"
        for (before, after), indices in there.items()
        for index in range(count)
        if index not in indices
    )


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a model's folder.

    Raises:
        ValueError: there is none, or it needs code of its own.
    """
    _quiet()
    try:
        return AutoTokenizer.from_pretrained(folder, **LOCAL)
    except Exception as error:  # as above
        # The library trusts the class that a folder names for some model types alone, Mixtral not among them.
        if (named := _named_tokenizer(folder)) is not None:
            return named.from_pretrained(folder, **LOCAL)
        raise ValueError(f"{folder} cannot be loaded as a tokenizer: {_said(error)}") from error


def _named_tokenizer(folder: Path) -> Any:
    """The class of the library that a folder names as its tokenizer's and that needs no vocabulary file, or None."""
    try:
        # A folder of a download cache holds links.
        name = read_json((folder / "tokenizer_config.json").resolve())["tokenizer_class"]
    except (StorageError, KeyError):
        return None
    found = getattr(transformers, name, None) if isinstance(name, str) else None
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedTokenizer)):
        return None
    return None if found.vocab_files_names else found


def fingerprint(folder: Path) -> dict[str, str]:
    """SHA-256 of the configuration and of each weight file."""
    return {path.name: sha256(path) for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]}


def sha256(path: Path) -> str:
    """SHA-256 of a file, which may be larger than memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _quiet() -> None:
    logging: Any = transformers.utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
