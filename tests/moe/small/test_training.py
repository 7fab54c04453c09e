from pathlib import Path

import pytest
import torch
from support.library import TINY, schedule, source

from wdmoe_env.files.safe import StorageError
from wdmoe_env.moe.small.checkpoint import identity_of, load_checkpoint, save_checkpoint
from wdmoe_env.moe.small.optimizer import orthogonal, rate
from wdmoe_env.moe.small.trainer import LanguageModelTrainer, imbalance

TEXTS = [source(number) for number in range(20)]


@pytest.mark.slow
def test_training_learns() -> None:
    trainer = LanguageModelTrainer(TINY, schedule(steps=60), TEXTS)
    losses = [trainer.step() for _ in range(60)]
    assert losses[0] > 7.5  # of log2(259) = 8.02
    assert sum(losses[-5:]) / 5 < 4


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_checkpoint_goes_on_bit_by_bit(tmp_path: Path, precision: str) -> None:
    straight = LanguageModelTrainer(TINY, schedule(precision=precision), TEXTS)
    losses = [straight.step() for _ in range(8)]
    first = LanguageModelTrainer(TINY, schedule(precision=precision), TEXTS)
    for _ in range(3):
        first.step()
    save_checkpoint(tmp_path / "c", {"trainer": first.state()})
    second = LanguageModelTrainer(TINY, schedule(precision=precision), TEXTS)
    second.restore(load_checkpoint(tmp_path / "c", second.most_bytes())["trainer"])
    assert [second.step() for _ in range(5)] == losses[3:]
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_a_pass_reads_each_window_once_and_the_next_cuts_elsewhere() -> None:
    trainer = LanguageModelTrainer(TINY, schedule(batch=1), TEXTS)
    trainer.stream = torch.arange(16 * 10 + 1)  # room for 9 windows from anywhere in the first 16
    starts = [int(trainer._batch(step)[0, 0]) for step in range(18)]
    assert trainer._batch(0).shape == (1, 17)
    for epoch in (starts[:9], starts[9:]):
        assert sorted(epoch) == list(range(min(epoch), min(epoch) + 9 * 16, 16))
    assert starts[0] % 16 != starts[9] % 16
    assert sorted(starts[:9]) != starts[:9]
    again = LanguageModelTrainer(TINY, schedule(batch=1), TEXTS)
    again.stream = trainer.stream
    assert [int(again._batch(step)[0, 0]) for step in (4, 16)] == [starts[4], starts[16]]


def test_imbalance_is_one_where_experts_are_used_evenly() -> None:
    even = torch.eye(4).repeat(5, 1) * 9 + torch.eye(4).roll(1, 1).repeat(5, 1) * 8.9
    assert float(imbalance(even, 2)) == pytest.approx(1, abs=1e-3)
    one = torch.tensor([[9.0, 0, 0, 0]]).repeat(5, 1)
    assert float(imbalance(one, 1)) == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("shape", [(3, 8, 20), (3, 20, 8), (1, 16, 16)])
def test_orthogonal_keeps_directions_and_evens_out_their_strength(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    inside = u.mT @ orthogonal(matrices) @ v.mT
    strengths = inside.diagonal(dim1=-2, dim2=-1)
    assert strengths.min() > 0.3
    assert strengths.max() < 1.3
    assert (inside - torch.diag_embed(strengths)).abs().max() < 0.05


def test_rates_rise_and_fall() -> None:
    assert [rate(step, 10, 2) for step in (0, 1, 2, 6, 9)] == pytest.approx([0.5, 1, 1, 0.5, 0.125])
    assert [rate(step, 4, 0) for step in range(4)] == pytest.approx([1, 0.75, 0.5, 0.25])


def test_a_gradient_that_is_not_finite_stops_before_it_is_used() -> None:
    trainer = LanguageModelTrainer(TINY, schedule(), TEXTS)
    with torch.no_grad():
        trainer.model.model.norm.weight.fill_(float("inf"))
    with pytest.raises(ValueError, match="the gradient of update 1 is not finite"):
        trainer.step()
    assert trainer.done == 0


def test_too_little_text_is_refused() -> None:
    with pytest.raises(ValueError, match="the training texts have 4 tokens, expected more than two windows of 16"):
        LanguageModelTrainer(TINY, schedule(), [b"abc"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0, expected a whole number of at least 1"),
        ({"muon_rate": float("inf")}, "muon_rate is inf, expected a number above 0"),
        ({"precision": "fp8"}, "precision is 'fp8', expected one of bf16, fp32"),
    ],
)
def test_schedules_that_cannot_be_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule(**change)


def test_checkpoints_that_are_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with pytest.raises(StorageError, match=f"{path} does not exist, expected the checkpoint of a run"):
        identity_of(path)
    torch.save({"format": 1}, tmp_path / "checkpoint.pt")
    with pytest.raises(StorageError, match=r"checkpoint\.pt is a checkpoint of version 0\.1, .* start it anew with"):
        identity_of(path)
    save_checkpoint(path, {"trainer": {"a": torch.zeros(3)}})
    with pytest.raises(StorageError, match=f"{path} is no checkpoint of this program: its identity is None"):
        identity_of(path)
    for name in ("state.json", "state.safetensors"):
        whole = (path / name).read_bytes()
        for blob in (b"", b"text", whole[: len(whole) // 2]):
            (path / name).write_bytes(blob)
            with pytest.raises(StorageError, match=rf"{path}/\S+ .*(broken|not a safetensors file)"):
                load_checkpoint(path, 1000)
        (path / name).write_bytes(whole)
    with pytest.raises(StorageError, match="bytes, expected at most 10"):
        load_checkpoint(path, 10)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"done": 9}, "state.done is 9, expected 0 to 8"),
        ({"done": True}, "state.done is bool True, expected int 0"),
        ({"done": 0}, r"state.optimizers\[0\] has an unknown 0"),
        ({"model": {}}, "state.model has no "),
        ({"more": 1}, "state has an unknown more"),
    ],
)
def test_states_of_other_models_are_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    trainer = LanguageModelTrainer(TINY, schedule(), TEXTS)
    trainer.step()
    save_checkpoint(tmp_path / "c", {"trainer": {**trainer.state(), **change}})
    fresh = LanguageModelTrainer(TINY, schedule(), TEXTS)
    before = [parameter.clone() for parameter in fresh.model.parameters()]
    with pytest.raises(ValueError, match=words):
        fresh.restore(load_checkpoint(tmp_path / "c", fresh.most_bytes())["trainer"])
    assert all(torch.equal(one, other) for one, other in zip(before, fresh.model.parameters(), strict=True))


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, {"done": 1})
    with pytest.raises(StorageError, match="a holds values that are not finite"):
        save_checkpoint(path, {"a": torch.tensor([float("nan")])})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StorageError, match="No space left on device; what was saved before is intact"):
            save_checkpoint(path, {"weights": torch.zeros(100_000)})
    assert load_checkpoint(path, 1000) == {"done": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["c"]
