from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from saved import DATA, TENSORS, assert_intact

from agents import storage
from agents.storage import StorageError, check_same_form, load_folder, save_folder


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
    tensors, data = load_folder(folder, "policy")
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
        load_folder(folder, "policy")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["policy.safetensors", "policy.json"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(StorageError, match=f"{name} cannot be read: No such file"):
        load_folder(folder, "policy")


def test_nothing_is_executed(folder: Path, tmp_path: Path) -> None:
    evil, canary = pickle.dumps(Canary(tmp_path / "canary")), tmp_path / "canary"
    seal(folder, evil)
    with pytest.raises(StorageError, match=r"policy\.safetensors is not a safetensors file"):
        load_folder(folder, "policy")
    (folder / "policy.json").write_bytes(evil)
    with pytest.raises(StorageError, match=r"policy\.json is broken"):
        load_folder(folder, "policy")
    torch.save(Canary(canary), folder / "policy.safetensors")
    seal(folder, (folder / "policy.safetensors").read_bytes())
    with pytest.raises(StorageError, match="is not a safetensors file"):
        load_folder(folder, "policy")
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
    ],
    ids=["huge-header", "long-header", "huge", "past-end", "dtype", "shape", "negative", "backwards"],
)
def test_bad_headers(folder: Path, blob: bytes) -> None:
    seal(folder, blob)
    with pytest.raises(StorageError, match=r"policy\.safetensors is not a safetensors file"):
        load_folder(folder, "policy")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(folder: Path, value: float) -> None:
    bad = {"a": torch.tensor([1.0, value])}
    with pytest.raises(StorageError, match="a holds values that are not finite"):
        save_folder(folder, "policy", bad, DATA)
    assert_intact(folder)
    seal(folder, storage.dump_tensors(bad))
    with pytest.raises(StorageError, match=r"policy\.safetensors: a holds values that are not finite"):
        load_folder(folder, "policy")


def test_other_format(folder: Path) -> None:
    (folder / "policy.json").write_text('{"format": 2}')
    with pytest.raises(StorageError, match="has format 2, expected 1"):
        load_folder(folder, "policy")


def test_same_form() -> None:
    check_same_form(TENSORS, TENSORS, "x")
    for change, words in (
        ({"a": torch.zeros(3, 2)}, r"x a is \(3, 2\) torch.float32, expected \(2, 3\)"),
        ({"a": torch.zeros(2, 3, dtype=torch.float64)}, "x a is .* torch.float64, expected .* torch.float32"),
        ({"../../evil": torch.zeros(1)}, "x has an unknown ../../evil"),
    ):
        with pytest.raises(ValueError, match=words):
            check_same_form({**TENSORS, **change}, TENSORS, "x")
    with pytest.raises(ValueError, match="x has no c"):
        check_same_form({name: TENSORS[name] for name in "ab"}, TENSORS, "x")
