"""Shares: the experts in a folder of a Hugging Face model, found by the names of their tensors and read one by one.

A device reads the slices of its own experts and nothing else, from the whole model's folder or from a share's, which
`write_share` makes. It needs neither transformers nor the memory for more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from wdmoe_env.files.atomic import write_folder
from wdmoe_env.files.safe import StorageError, read_json

Matrix = Literal["gate", "up", "down"]
MATRICES: Final[tuple[Matrix, ...]] = get_args(Matrix)
MANIFEST: Final = "share.json"
_INDEX: Final = "model.safetensors.index.json"
_EACH: Final = re.compile(
    r"(?:.*\.)?layers\.(?P<layer>\d+)\.(?:mlp|block_sparse_moe|feed_forward)\.experts\.(?P<expert>\d+)\."
    r"(?P<matrix>gate_proj|up_proj|down_proj|w1|w2|w3)\.weight"
)
_STACKED: Final = re.compile(
    r"(?:.*\.)?layers\.(?P<layer>\d+)\.(?:mlp|block_sparse_moe|feed_forward)\.experts\.(?P<matrix>gate_up_proj|down_proj)"
)
_ROLE: Final[dict[str, Matrix]] = {
    "gate_proj": "gate", "up_proj": "up", "down_proj": "down", "w1": "gate", "w3": "up", "w2": "down",
}  # fmt: skip
_DTYPES: Final = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class _Place:
    """Where a matrix lies: a tensor of a file, or rows of a slice of one that holds all experts of its layer."""

    file: Path
    tensor: str
    stacked: bool


class ExpertFiles:
    """The experts in a model's folder, by their MoE layer (from 0, dense layers not counted), number and matrix.

    Attributes:
        folder: of the model, or of a share.
        layers: MoE layers.
        experts: numbers of the experts that lie here, rising: all E of the model, or those of a share.
        hidden, intermediate: sizes of an expert.
    """

    def __init__(self, folder: Path) -> None:
        """Find the experts of `folder`; of the files only headers are read.

        Raises:
            ValueError: there is no such model, an expert is incomplete, or shapes differ; names the file or tensor.
        """
        self.folder = folder
        self._config = _config(folder)
        self._places: dict[tuple[int, int, Matrix], _Place] = {}
        depths, stacked = set[int](), dict[tuple[int, str], tuple[Path, str]]()
        for name, file in _tensors(folder).items():
            if found := _EACH.fullmatch(name):
                depth, expert = int(found["layer"]), int(found["expert"])
                self._places[depth, expert, _ROLE[found["matrix"]]] = _Place(file, name, stacked=False)
                depths.add(depth)
            elif found := _STACKED.fullmatch(name):
                stacked[int(found["layer"]), found["matrix"]] = file, name
                depths.add(int(found["layer"]))
        if not depths:
            raise ValueError(f"{folder} holds no experts: none of its tensors is named as those of a known model are")
        for (depth, matrix), (file, name) in stacked.items():
            for expert in range(_shape(file, name)[0]):
                for role in ("gate", "up") if matrix == "gate_up_proj" else ("down",):
                    self._places[depth, expert, role] = _Place(file, name, stacked=True)
        self._depths = sorted(depths)
        self.layers = len(self._depths)
        self.experts = tuple(sorted({expert for _, expert, _ in self._places}))
        self._digests: dict[int, str] = {}
        self._check_complete()
        self.hidden, self.intermediate = self._sizes()

    def _check_complete(self) -> None:
        for depth in self._depths:
            for expert in self.experts:
                for matrix in MATRICES:
                    if (depth, expert, matrix) not in self._places:
                        raise ValueError(f"{self.folder} lacks the {matrix} matrix of expert {expert} in layer {depth}")

    def _sizes(self) -> tuple[int, int]:
        # By the configuration: of a share that was copied file by file, the others' files are not there.
        wide = self._config.get("moe_intermediate_size") or self._config.get("intermediate_size")
        said = self._config.get("hidden_size"), wide
        if isinstance(said[0], int) and isinstance(said[1], int):
            return said[0], said[1]
        place = self._places[self._depths[0], self.experts[0], "down"]
        shape = _shape(place.file, place.tensor)
        return int(shape[-2]), int(shape[-1])

    @cached_property
    def activation(self) -> str:
        """The experts' activation function, as the configuration names it."""
        return str(self._config.get("hidden_act", "silu"))

    @cached_property
    def dtype(self) -> torch.dtype:
        """What the model is to be computed in by its configuration, or else the type that its weights are stored in."""
        named = self._config.get("dtype") or self._config.get("torch_dtype")
        if named in _DTYPES:
            return _DTYPES[named]
        return self._read(self._depths[0], self.experts[0], "down").dtype

    @cached_property
    def model(self) -> str:
        """Which model this is: SHA-256 of its configuration, and of the number and sizes of its experts."""
        manifest = self.folder / MANIFEST
        if manifest.is_file():
            return str(_json(manifest)["model"])
        # Content: what a version of a library writes of its own must not make another model of it.
        said = {
            key: value for key, value in self._config.items() if key not in ("transformers_version", "_name_or_path")
        }
        sizes = [self.layers, len(self.experts), self.hidden, self.intermediate]
        return hashlib.sha256(json.dumps([said, sizes], sort_keys=True).encode()).hexdigest()

    def matrices(self, layer: int, expert: int, dtype: torch.dtype | None = None) -> dict[Matrix, Tensor]:
        """The three matrices of an expert: gate and up (intermediate, hidden), down (hidden, intermediate).

        Raises:
            ValueError: it does not lie here, or a shape is another.
        """
        if expert not in self.experts or not 0 <= layer < self.layers:
            raise ValueError(
                f"{self.folder} holds no expert {expert} of layer {layer}, "
                f"expected layers 0 to {self.layers - 1} and experts {_numbers(self.experts)}"
            )
        found = {matrix: self._read(self._depths[layer], expert, matrix) for matrix in MATRICES}
        wide = (self.intermediate, self.hidden)
        for matrix, tensor in found.items():
            if tuple(tensor.shape) != (expected := wide[::-1] if matrix == "down" else wide):
                raise ValueError(
                    f"{self.folder}: the {matrix} matrix of expert {expert} in layer {layer} has shape "
                    f"{tuple(tensor.shape)}, expected {expected}"
                )
        return found if dtype is None else {matrix: tensor.to(dtype) for matrix, tensor in found.items()}

    def _read(self, depth: int, expert: int, matrix: Matrix) -> Tensor:
        place = self._places[depth, expert, matrix]
        with _Opened(place.file) as file:
            if not place.stacked:
                return file.get_tensor(place.tensor)
            whole = file.get_slice(place.tensor)
            if matrix == "down":
                return whole[expert : expert + 1][0]
            half = whole.get_shape()[1] // 2
            rows = slice(0, half) if matrix == "gate" else slice(half, 2 * half)
            return whole[expert : expert + 1, rows][0]

    def digest(self, experts: Sequence[int]) -> str:
        """SHA-256 of the weights of some experts in all layers, as they are stored: their share."""
        manifest = self.folder / MANIFEST
        known = _json(manifest)["experts"] if manifest.is_file() else {}
        each = [str(known.get(str(expert)) or self.expert_digest(expert)) for expert in experts]
        return hashlib.sha256("".join(each).encode()).hexdigest()

    def expert_digest(self, expert: int) -> str:
        """SHA-256 of an expert's weights in all layers, as they are stored."""
        if expert in self._digests:
            return self._digests[expert]
        found = hashlib.sha256()
        for layer in range(self.layers):
            for matrix, tensor in self.matrices(layer, expert).items():
                found.update(f"{layer} {matrix} {tuple(tensor.shape)} {tensor.dtype}\0".encode())
                found.update(tensor.contiguous().view(torch.uint8).numpy().data)
        self._digests[expert] = found.hexdigest()
        return self._digests[expert]


def write_share(files: ExpertFiles, experts: Sequence[int], folder: Path) -> None:
    """Write a device's share as a folder of its own: its experts, the configuration, and what model they are of.

    Raises:
        ValueError: an expert is not there.
        OSError: it cannot be written.
    """
    tensors = {
        f"model.layers.{layer}.mlp.experts.{expert}.{matrix}_proj.weight": tensor.contiguous()
        for layer in range(files.layers)
        for expert in experts
        for matrix, tensor in files.matrices(layer, expert).items()
    }
    manifest = {"model": files.model, "experts": {str(expert): files.expert_digest(expert) for expert in experts}}
    content = {
        "config.json": (files.folder / "config.json").read_bytes(),
        MANIFEST: json.dumps(manifest, indent=1).encode(),
        "model.safetensors": save(tensors),
    }
    write_folder(folder, content)


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / "config.json").exists():
        raise ValueError(
            f"{folder} holds no config.json, expected the folder of a Hugging Face model or a share of one"
        )
    return _json(folder / "config.json")


def _json(path: Path) -> dict[str, Any]:
    try:
        # A folder of a download cache holds links.
        return read_json(path.resolve())
    except StorageError as error:
        raise ValueError(str(error)) from error


def _tensors(folder: Path) -> Mapping[str, Path]:
    """The file of each tensor, by the index of a sharded model or the files' own headers."""
    if (index := folder / _INDEX).exists():
        places = _json(index).get("weight_map")
        if not isinstance(places, dict):
            raise ValueError(f"{index} holds no weight_map")
        return {name: _beside(folder, file) for name, file in places.items()}
    if not (files := sorted(folder.glob("*.safetensors"))):
        raise ValueError(f"{folder} holds no weights as .safetensors; other formats are not read")
    found = {}
    for path in files:
        with _Opened(path) as file:
            found.update(dict.fromkeys(file.keys(), path))
    return found


def _beside(folder: Path, name: Any) -> Path:
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"{folder / _INDEX} names the file {name!r:.80}, expected one beside it")
    return folder / name


class _Opened:
    """A safetensors file; what is wrong with it is a ValueError that names it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Any:
        try:
            found: Any = safe_open(str(self._path), framework="pt")
            self._file = found.__enter__()
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{self._path} cannot be read: {error}") from error
        return self._file

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._file.__exit__(kind, error, trace)
        if isinstance(error, SafetensorError):
            raise ValueError(f"{self._path} is broken: {error}") from error


def _shape(file: Path, tensor: str) -> list[int]:
    with _Opened(file) as opened:
        return list(opened.get_slice(tensor).get_shape())


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(map(str, values)) if len(values) <= 16 else f"{values[0]} to {values[-1]} ({len(values)} of them)"


def parse_experts(text: str) -> tuple[int, ...]:
    """Numbers of experts from `3`, `0,4` or `0-3,8`.

    Raises:
        ValueError: it says none, or one twice.

    >>> parse_experts("0-2,5")
    (0, 1, 2, 5)
    """
    found = list[int]()
    for part in text.split(","):
        if not (match := re.fullmatch(r"\s*(\d{1,6})(?:\s*-\s*(\d{1,6}))?\s*", part)):
            raise ValueError(f"--experts is {text!r:.80}, expected numbers such as 3, 0,4 or 0-3")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    if not found or len(set(found)) != len(found):
        raise ValueError(f"--experts is {text!r:.80}, expected each number once")
    return tuple(sorted(found))


def all_matrices(files: ExpertFiles, experts: Sequence[int]) -> Iterator[tuple[int, int, dict[Matrix, Tensor]]]:
    """Layer, expert and matrices of some experts, to compute in the model's own type."""
    for layer in range(files.layers):
        for expert in experts:
            yield layer, expert, files.matrices(layer, expert, files.dtype)
