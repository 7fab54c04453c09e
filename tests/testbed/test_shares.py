"""Shares: the experts of any known model, found and read alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file
from support.miniature import DENSE, OPTIONS, miniature, save_bytes

from wdmoe_env.testbed.experts import Experts
from wdmoe_env.testbed.shares import MANIFEST, ExpertFiles, parse_experts, write_share


def saved(folder: Path, family: str, shard: str = "10KB") -> Path:
    miniature(family).save_pretrained(folder, max_shard_size=shard)
    return folder


def of_layer(family: str, layer: int):
    blocks = [
        block for block in miniature(family).modules() if hasattr(getattr(block, "experts", None), "gate_up_proj")
    ]
    return blocks[layer].experts


@pytest.mark.parametrize("family", OPTIONS)
def test_experts_compute_what_the_model_does(family: str, tmp_path: Path) -> None:
    files = ExpertFiles(saved(tmp_path, family))
    assert files.layers == 3 - DENSE.get(family, 0)
    assert (files.experts, files.hidden, files.intermediate) == (tuple(range(6)), 16, 8)
    held = Experts(files, [1, 4])
    generator = torch.Generator().manual_seed(0)
    rows, weights = torch.randn((5, 16), generator=generator), torch.rand((5, 2), generator=generator)
    weights[2, 0] = 0.0
    for layer in range(files.layers):
        with torch.no_grad():
            expected = of_layer(family, layer)(rows, torch.tensor([[1, 4]] * 5), weights)
        found, seconds = held.timed(layer, [1, 4], rows, weights)
        assert torch.allclose(found, expected, atol=1e-5)
        assert min(seconds) >= 0.0


def test_one_file_and_many_are_the_same_model(tmp_path: Path) -> None:
    one, many = (ExpertFiles(saved(tmp_path / name, "olmoe", size)) for name, size in (("a", "1GB"), ("b", "10KB")))
    assert len(list((tmp_path / "b").glob("*.safetensors"))) > 1
    assert (one.model, one.digest([0, 3])) == (many.model, many.digest([0, 3]))


def test_stacked_weights_are_found_too(tmp_path: Path) -> None:
    files = ExpertFiles(saved(tmp_path / "each", "olmoe", "1GB"))
    stacked = {}
    for layer in range(files.layers):
        found = [files.matrices(layer, expert) for expert in files.experts]
        name = f"model.layers.{layer}.mlp.experts"
        stacked[f"{name}.gate_up_proj"] = torch.stack([torch.cat([each["gate"], each["up"]]) for each in found])
        stacked[f"{name}.down_proj"] = torch.stack([each["down"] for each in found])
    (tmp_path / "stacked").mkdir()
    save_file(stacked, tmp_path / "stacked" / "model.safetensors")
    (tmp_path / "stacked" / "config.json").write_bytes((tmp_path / "each" / "config.json").read_bytes())
    other = ExpertFiles(tmp_path / "stacked")
    assert (other.model, other.digest(range(6))) == (files.model, files.digest(range(6)))


def test_a_device_reads_its_own_experts_alone(tmp_path: Path) -> None:
    folder = saved(tmp_path, "olmoe", "1GB")
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"expert-{name.split('.experts.')[1][0]}.safetensors" for name in whole if ".experts." in name}
    for file in set(places.values()):
        save_file({name: whole[name] for name, own in places.items() if own == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    for path in folder.glob("*.safetensors"):
        if path.name != "expert-2.safetensors":
            path.write_bytes(b"not a file of tensors")
    assert Experts(ExpertFiles(folder), [2]).numbers == (2,)
    with pytest.raises(ValueError, match=r"cannot be read"):
        Experts(ExpertFiles(folder), [2, 3])


def test_a_share_is_a_folder_of_its_own(tmp_path: Path) -> None:
    files = ExpertFiles(saved(tmp_path / "whole", "qwen2-moe"))
    write_share(files, [1, 4], tmp_path / "share")
    share = ExpertFiles(tmp_path / "share")
    whole, part = Experts(files, [4]), Experts(share, [4])
    assert share.experts == (1, 4)
    assert (part.model, part.share) == (whole.model, whole.share)
    assert json.loads((tmp_path / "share" / MANIFEST).read_text())["experts"].keys() == {"1", "4"}
    with pytest.raises(ValueError, match=r"holds no expert 0"):
        Experts(share, [0])


def test_another_weight_is_another_share(tmp_path: Path) -> None:
    folder = saved(tmp_path, "mixtral", "1GB")
    before = ExpertFiles(folder)
    digests = before.digest([0]), before.digest([1])
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if ".experts.1.w2" in name)
    tensors[name][0, 0] += 1.0
    save_file(tensors, folder / "model.safetensors")
    after = ExpertFiles(folder)
    assert (after.digest([0]) == digests[0], after.digest([1]) == digests[1]) == (True, False)
    assert after.model == before.model


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no config\.json"):
        ExpertFiles(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"no weights as \.safetensors"):
        ExpertFiles(tmp_path)
    save_file({"dense.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"holds no experts"):
        ExpertFiles(tmp_path)
    save_file({"model.layers.0.mlp.experts.0.up_proj.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"lacks the gate matrix of expert 0 in layer 0"):
        ExpertFiles(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.layers.0.mlp.experts.0.up_proj.weight": "../elsewhere"}}))
    with pytest.raises(ValueError, match=r"names the file '\.\./elsewhere'"):
        ExpertFiles(tmp_path)


def test_the_dtype_is_that_of_the_configuration(tmp_path: Path) -> None:
    folder = save_bytes(tmp_path, "mixtral", miniature("mixtral", vocab_size=259).to(torch.bfloat16))
    assert ExpertFiles(folder).dtype == torch.bfloat16


@pytest.mark.parametrize(("text", "expected"), [("3", (3,)), ("0,4", (0, 4)), ("5, 0-2", (0, 1, 2, 5))])
def test_numbers_of_experts(text: str, expected: tuple[int, ...]) -> None:
    assert parse_experts(text) == expected


@pytest.mark.parametrize("text", ["", "a", "1,,2", "3-1", "1,1", "-1", "0-2,2"])
def test_what_is_no_list_of_experts(text: str) -> None:
    with pytest.raises(ValueError, match=r"--experts is"):
        parse_experts(text)
