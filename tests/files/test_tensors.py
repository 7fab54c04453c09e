from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.saved import DATA, assert_intact

from wdmoe_env.files import tensors
from wdmoe_env.files.safe import StorageError
from wdmoe_env.files.tensors import load_folder, save_folder


class Canary:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def seal(folder: Path, blob: bytes, data: Any = DATA) -> None:
    """Write anything with a digest that matches, as somebody would who means harm."""
    digest = hashlib.sha256(blob + json.dumps(data, sort_keys=True).encode()).hexdigest()
    (folder / "policy.safetensors").write_bytes(blob)
    (folder / "policy.json").write_text(json.dumps({"format": 1, "sha256": digest, **data}))


def test_round_trip(folder: Path) -> None:
    assert_intact(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["policy.json", "policy.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_replaced_as_a_whole(folder: Path) -> None:
    save_folder(folder, "policy", {"z": torch.zeros(1)}, {"name": "y"})
    tensors, data = load_folder(folder, "policy", 2**20)
    assert (list(tensors), data) == (["z"], {"name": "y"})
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


@pytest.mark.parametrize("name", ["policy.safetensors", "policy.json"])
@pytest.mark.parametrize(
    "harm",
    [
        lambda blob: blob[: len(blob) // 2],
        lambda blob: blob[:-1],
        lambda blob: b"",
        lambda blob: blob[:-5] + bytes([blob[-5] ^ 1]) + blob[-4:],
        lambda blob: blob[:60] + bytes([blob[60] ^ 4]) + blob[61:],
        lambda blob: blob + b"x",
        lambda blob: b"\x80\x04K\x01.",
        lambda blob: b"[" * 100_000,
        lambda blob: b"[]",
        lambda blob: b"\xff\xfe",
    ],
    ids=["half", "cut", "empty", "flip-end", "flip-start", "longer", "pickle", "nested", "list", "not-utf8"],
)
def test_damage_is_named(folder: Path, name: str, harm: Callable[[bytes], bytes]) -> None:
    path = folder / name
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(StorageError, match="policy") as caught:
        load_folder(folder, "policy", 2**20)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["policy.safetensors", "policy.json"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(StorageError, match=f"{name} cannot be read: No such file"):
        load_folder(folder, "policy", 2**20)


def test_nothing_is_executed(folder: Path, tmp_path: Path) -> None:
    evil, canary = pickle.dumps(Canary(tmp_path / "canary")), tmp_path / "canary"
    seal(folder, evil)
    with pytest.raises(StorageError, match=r"policy\.safetensors is not a safetensors file"):
        load_folder(folder, "policy", 2**20)
    (folder / "policy.json").write_bytes(evil)
    with pytest.raises(StorageError, match=r"policy\.json is broken"):
        load_folder(folder, "policy", 2**20)
    torch.save(Canary(canary), folder / "policy.safetensors")
    seal(folder, (folder / "policy.safetensors").read_bytes())
    with pytest.raises(StorageError, match="is not a safetensors file"):
        load_folder(folder, "policy", 2**20)
    assert not canary.exists()
    pickle.loads(evil).close()
    assert canary.exists(), "the canary would have sung"


def header(entries: dict[str, Any], data: bytes = b"\0" * 4) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "blob",
    [
        (2**63).to_bytes(8, "little") + b"{}",
        (10**9).to_bytes(8, "little") + b"{}",
        header({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}),
        header({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}),
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}),
        header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}),
        header({"a": {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}, b""),
        header({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"}),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"\0" * 8),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 8),
    ],
    ids=[
        *("huge-header", "long-header", "huge", "past-end", "dtype", "shape", "negative", "backwards"),
        *("overflow", "overlap", "gap", "left-over"),
    ],
)
def test_bad_headers(folder: Path, blob: bytes) -> None:
    seal(folder, blob)
    with pytest.raises(StorageError, match=r"policy\.safetensors is not a safetensors file"):
        load_folder(folder, "policy", 2**20)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(folder: Path, value: float) -> None:
    bad = {"a": torch.tensor([1.0, value])}
    with pytest.raises(StorageError, match="a holds values that are not finite"):
        save_folder(folder, "policy", bad, DATA)
    assert_intact(folder)
    seal(folder, tensors.dump_tensors(bad))
    with pytest.raises(StorageError, match=r"policy\.safetensors: a holds values that are not finite"):
        load_folder(folder, "policy", 2**20)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "BF16", "F16", "C64", "I8"])
def test_unknown_types(folder: Path, dtype: str) -> None:
    size = 1 if dtype in ("F8_E4M3", "F8_E5M2", "I8") else 8 if dtype == "C64" else 2
    blob = header({"a": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}, b"\xff" * size)
    seal(folder, blob)
    with pytest.raises(StorageError, match=r"policy\.safetensors: a is torch\.\w+, expected one of torch.float32"):
        load_folder(folder, "policy", 2**20)


@pytest.mark.parametrize("version", ["2", "true", "[1]", '"1"', "null"])
def test_other_format(folder: Path, version: str) -> None:
    (folder / "policy.json").write_text(f'{{"format": {version}}}')
    with pytest.raises(StorageError, match=r"has format .*, expected 1"):
        load_folder(folder, "policy", 2**20)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": NaN}', "it holds NaN, expected finite numbers"),
        ('{"a": -Infinity}', "it holds -Infinity, expected"),
        ('{"a": 1e999}', "it holds 1e999, expected"),
        ('{"a": %s}' % ("9" * 5000), "is broken: Exceeds the limit"),
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", "is broken: maximum recursion"),
        ("5", "holds a int, expected a mapping"),
        ("", "is broken"),
        (" " * (4 * 2**20 + 1), r"policy\.json has 4,194,305 bytes, expected at most 4,194,304"),
    ],
    ids=["nan", "infinity", "overflow", "digits", "nested", "number", "empty", "large"],
)
def test_bad_json(folder: Path, text: str, words: str) -> None:
    (folder / "policy.json").write_text(text)
    with pytest.raises(StorageError, match=words):
        load_folder(folder, "policy", 2**20)


def test_nested_as_deeply_as_json_allows(folder: Path) -> None:
    blob = (folder / "policy.safetensors").read_bytes()
    for depth in range(900, 1000):
        text = f'{{"format": 1, "sha256": "", "a": {"[" * depth}{"]" * depth}}}'
        (folder / "policy.json").write_text(text)
        with pytest.raises(StorageError, match="broken"):
            load_folder(folder, "policy", len(blob))


def test_too_large_is_not_read(folder: Path) -> None:
    size = (folder / "policy.safetensors").stat().st_size
    load_folder(folder, "policy", size)
    with pytest.raises(StorageError, match=rf"policy\.safetensors has {size} bytes, expected at most {size - 1}"):
        load_folder(folder, "policy", size - 1)
    os.truncate(folder / "policy.safetensors", 10**11)
    with pytest.raises(StorageError, match="has 100,000,000,000 bytes, expected at most 1,048,576"):
        load_folder(folder, "policy", 2**20)


@pytest.mark.parametrize("name", ["policy.safetensors", "policy.json"])
def test_only_regular_files(folder: Path, tmp_path: Path, name: str) -> None:
    path = folder / name
    os.replace(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=f"{name} is a symbolic link, expected a regular file"):
        load_folder(folder, "policy", 2**20)
    path.unlink()
    # Whoever opens it waits for a writer, for ever.
    os.mkfifo(path)
    with pytest.raises(StorageError, match=f"{name} is a pipe, expected a regular file"):
        load_folder(folder, "policy", 2**20)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match=f"{name} is a folder, expected a regular file"):
        load_folder(folder, "policy", 2**20)


def test_json_that_could_not_be_loaded_is_not_saved(folder: Path) -> None:
    with pytest.raises(StorageError, match=r"could not save .*best: Out of range float"):
        save_folder(folder, "policy", {}, {"best": float("nan")})
    assert_intact(folder)
