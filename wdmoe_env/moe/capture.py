"""Capture: run a mixture-of-experts model over texts, and keep the router's softmax of every layer and token."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wdmoe_env.files.provenance import versions
from wdmoe_env.gating.trace_file import write_trace

if TYPE_CHECKING:
    from wdmoe_env.moe.contexts import Contexts
    from wdmoe_env.moe.routers import Routers

MAX_BYTES = 8 * 10**9
"""Of the weights, which are held in memory until they are written."""

Weights = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Options:
    """Record the gate weights that a local mixture-of-experts model gives the tokens of texts.

    The model is not changed, nothing is downloaded, and no code from its folder runs.
    """

    model: Path
    """Folder of a Hugging Face model with its tokenizer; weights as safetensors."""
    text: tuple[Path, ...]
    """Texts in UTF-8, one or more. Their contexts take turns."""
    out: Path
    """File to write, ending in .safetensors; it must not exist."""
    tokens: int | None = None
    """Tokens to record at most; default: all."""
    context: int = 512
    """Tokens that the model reads at once, from nothing. A forward pass of the simulator lies within one context."""
    batch: int = 8
    """Contexts that are run side by side."""
    dtype: Literal["float16", "float32"] = "float16"
    """What weights are stored in."""
    precision: Literal["float32", "stored"] = "float32"
    """What the model computes in: float32, or the type of its stored weights, which takes less memory."""
    device: str = "cpu"
    """Device of torch, such as cpu or cuda."""


def main(options: Options) -> int:
    """Capture, write the trace, say what it holds, and return 0.

    Raises:
        ValueError: an option, the model or a text does not fit; nothing is written then.
        OSError: the file cannot be written.
    """
    _check(options)
    from wdmoe_env.moe.contexts import read_contexts
    from wdmoe_env.moe.local_model import load_model, load_tokenizer
    from wdmoe_env.moe.routers import Routers

    tokenizer = load_tokenizer(options.model)
    contexts = read_contexts(options.text, tokenizer, options.context, options.tokens)
    model = load_model(options.model, options.precision, options.device)
    routers = Routers(model)
    _check_fit(options, model, contexts)
    kept = _storage(options, contexts.tokens, routers)
    try:
        run(model, routers, contexts, options.batch, kept)
    except RuntimeError as error:
        reason = f"{' '.join(str(error).split()):.300}"
        raise ValueError(f"{options.model} could not be run with --batch {options.batch}: {reason}") from error
    document = np.repeat(np.arange(len(contexts.pieces), dtype=np.int32), [len(piece) for piece in contexts.pieces])
    write_trace(options.out, kept, document, _metadata(options, tokenizer, routers))
    print(
        f"{options.out}: {contexts.tokens:,} tokens of {len(contexts.pieces):,} contexts, {routers.layers} layers, "
        f"{routers.experts} experts, top-{routers.top_k}, {options.out.stat().st_size / 1e6:.1f} MB"
    )
    return 0


def run(model: Any, routers: Routers, contexts: Contexts, batch: int, kept: Weights) -> None:
    """Fill `kept`, (tokens, layers, experts), with the router softmax of each token, in the order of the contexts."""
    import torch

    skip, done = len(contexts.start), 0
    device = next(model.parameters()).device
    with torch.inference_mode(), _progress() as progress:
        task = progress.add_task("tokens", total=contexts.tokens)
        for pieces in contexts.batches(batch):
            stop = done + len(pieces) * len(pieces[0])

            def keep(
                layer: int, weights: torch.Tensor, start: int = done, stop: int = stop, n: int = len(pieces)
            ) -> None:
                each = weights.reshape(n, -1, routers.experts)[:, skip:]
                kept[start:stop, layer] = each.reshape(stop - start, routers.experts).cpu().numpy()

            with routers.intercept(keep):
                ids = torch.tensor([[*contexts.start, *piece] for piece in pieces], device=device)
                model.base_model(input_ids=ids, use_cache=False)
            done = stop
            progress.update(task, completed=done)


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True))


def _check(options: Options) -> None:
    for name, least in (("context", 2), ("batch", 1), ("tokens", 1)):
        if (value := getattr(options, name)) is not None and value < least:
            raise ValueError(f"--{name} is {value}, expected at least {least}")
    if not options.text:
        raise ValueError("--text names no file, expected one or more")
    if options.out.suffix != ".safetensors":
        raise ValueError(f"--out is {options.out}, expected a name that ends in .safetensors")
    if options.out.exists():
        raise ValueError(f"--out {options.out} exists: move it away, or choose another name")
    if not options.out.parent.is_dir():
        raise ValueError(f"--out {options.out}: there is no folder {options.out.parent}")


def _check_fit(options: Options, model: Any, contexts: Contexts) -> None:
    positions = getattr(model.config, "max_position_embeddings", None)
    longest = max(map(len, contexts.pieces)) + len(contexts.start)
    if positions is not None and longest > positions:
        raise ValueError(
            f"--context is {options.context}, but {options.model} reads at most {positions} tokens at once"
        )
    known = model.get_input_embeddings().weight.shape[0]
    if (largest := max(map(max, (*contexts.pieces, contexts.start or (0,))))) >= known:
        raise ValueError(f"the tokenizer of {options.model} gives token {largest}, but its model knows {known} tokens")


def _storage(options: Options, tokens: int, routers: Routers) -> Weights:
    shape, dtype = (tokens, routers.layers, routers.experts), np.dtype(options.dtype)
    if (size := int(np.prod(shape)) * dtype.itemsize) > MAX_BYTES:
        raise ValueError(
            f"{tokens:,} tokens of {routers.layers} layers and {routers.experts} experts take {size / 1e9:.1f} GB, "
            f"expected at most {MAX_BYTES / 1e9:g} GB: record fewer with --tokens"
        )
    # What a layer does not fill is found when the file is checked.
    return np.full(shape, np.nan, dtype=dtype)


def _metadata(options: Options, tokenizer: Any, routers: Routers) -> dict[str, str]:
    from wdmoe_env.moe.local_model import fingerprint, sha256

    data = [{"file": file.name, "sha256": sha256(file)} for file in options.text]
    used = {**versions(), **{package: version(package) for package in ("transformers", "safetensors")}}
    return {
        "model": options.model.resolve().name,
        "model_type": routers.family,
        "model_sha256": json.dumps(fingerprint(options.model)),
        "tokenizer": type(tokenizer).__name__,
        "data": json.dumps(data),
        "top_k": str(routers.top_k),
        "renormalised": json.dumps(routers.rule.renormalised),
        "context": str(options.context),
        "precision": options.precision,
        "versions": json.dumps(used),
        "command": _command(options),
    }


def _command(options: Options) -> str:
    """The command line that captures this again."""
    words = ["python", "-m", "wdmoe_env.moe", "capture"]
    for entry in fields(options):
        value = getattr(options, entry.name)
        if value != entry.default:
            words += [f"--{entry.name}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)
