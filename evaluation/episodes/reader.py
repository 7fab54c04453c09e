"""A model and a text to read, found from the words of a command line."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.reading import Reader
from wdmoe_env.moe.contexts import read_text
from wdmoe_env.moe.small.options import RESULT

if TYPE_CHECKING:
    from evaluation.episodes.live import Live
    from wdmoe_env.moe.in_the_loop import ModelInTheLoop


def find_reader(model: str, texts: list[str], live: Live | None = None) -> Reader:
    """Load the model in a folder and the files that it reads.

    Args:
        model: folder of a local Hugging Face mixture-of-experts model.
        live: a testbed whose devices hold the model's experts, so that these are not loaded here.
        texts: UTF-8 files. Empty: the held-out part of the corpus, if the model is the one that was trained on it.

    Raises:
        EvaluationError: the extra `llm` is not installed, there is no such model or it is none of experts, or a file
            cannot be read.
    """
    folder = Path(model)
    if not folder.is_dir():
        raise EvaluationError(f"no model at --model {model}: the folder does not exist")
    documents = _documents(texts) if texts else _held_out(folder)
    try:
        import torch

        from wdmoe_env.moe.in_the_loop import ModelInTheLoop
        from wdmoe_env.moe.local_model import load_model, load_tokenizer
    except ModuleNotFoundError as error:
        raise EvaluationError(f"--model needs {error.name}: pip install -e '.[train,llm]'") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        network = load_model(folder, "stored", device) if live is None else _split(folder, device)
        loop = ModelInTheLoop(network, tried=live is None)
        tokenizer = load_tokenizer(folder)
    except ValueError as error:
        raise EvaluationError(f"--model: {error}") from error
    return Reader(loop, tokenizer, tuple(documents.values()), _facts(folder, loop, tokenizer, documents), live)


def _split(folder: Path, device: str) -> Any:
    from wdmoe_env.testbed.split_model import load_split

    return load_split(folder, "stored", device)


_Documents = dict[str, tuple[str, str]]
"""Names and texts, by where they are from."""


def _documents(files: list[str]) -> _Documents:
    found: _Documents = {}
    for file in files:
        if file in found:
            raise EvaluationError(f"--text names {file} twice")
        try:
            found[file] = Path(file).name, read_text(Path(file))
        except ValueError as error:
            raise EvaluationError(str(error)) from error
    return found


def _decoded(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise EvaluationError(f"--text {name} is no UTF-8 text: byte {error.start} is not") from error


def _held_out(model: Path) -> _Documents:
    # A model of `python -m wdmoe_env.moe train`, known by its result, reads the rest of its own corpus by default.
    if not (model / RESULT).is_file():
        raise EvaluationError("--text is empty: expected files for the model to read, which it was not trained on")
    from wdmoe_env.moe.small import corpus

    try:
        return {name: (name, _decoded(name, content)) for name, content in corpus.texts("test")}
    except (ValueError, OSError) as error:
        raise EvaluationError(f"--text is empty, and the corpus cannot be read: {error}") from error


def _facts(folder: Path, loop: ModelInTheLoop, tokenizer: Any, documents: _Documents) -> dict[str, Any]:
    """Which model and which text these are."""
    from wdmoe_env.moe.local_model import fingerprint

    parameter, contents = next(loop.model.parameters()), [(name, text.encode()) for name, text in documents.values()]
    return {
        "name": folder.resolve().name,
        "type": loop.routers.family,
        "sha256": fingerprint(folder),
        "tokenizer": type(tokenizer).__name__,
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "device": parameter.device.type,
        "transformers": version("transformers"),
        "text": [
            {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in contents
        ],
    }
