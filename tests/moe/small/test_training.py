from pathlib import Path

import pytest
import torch
from support.library import TINY, plan, source

from wdmoe_env.moe.small.optimizer import orthogonal, rate
from wdmoe_env.moe.small.trainer import Trainer, imbalance, load_checkpoint, save_checkpoint

TEXTS = [source(number) for number in range(20)]


def test_training_learns() -> None:
    trainer = Trainer(TINY, plan(steps=60), TEXTS)
    losses = [trainer.step() for _ in range(60)]
    assert losses[0] > 7.5  # of log2(259) = 8.02
    assert sum(losses[-5:]) / 5 < 4


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_checkpoint_goes_on_bit_by_bit(tmp_path: Path, precision: str) -> None:
    straight = Trainer(TINY, plan(precision=precision), TEXTS)
    losses = [straight.step() for _ in range(8)]
    first = Trainer(TINY, plan(precision=precision), TEXTS)
    for _ in range(3):
        first.step()
    save_checkpoint(tmp_path / "c.pt", {"trainer": first.state()})
    second = Trainer(TINY, plan(precision=precision), TEXTS)
    second.restore(load_checkpoint(tmp_path / "c.pt")["trainer"])
    assert [second.step() for _ in range(5)] == losses[3:]
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_a_pass_reads_each_window_once_and_the_next_cuts_elsewhere() -> None:
    trainer = Trainer(TINY, plan(batch=1), TEXTS)
    trainer.stream = torch.arange(16 * 10 + 1)  # room for 9 windows from anywhere in the first 16
    starts = [int(trainer._batch(step)[0, 0]) for step in range(18)]
    assert trainer._batch(0).shape == (1, 17)
    for epoch in (starts[:9], starts[9:]):
        assert sorted(epoch) == list(range(min(epoch), min(epoch) + 9 * 16, 16))
    assert starts[0] % 16 != starts[9] % 16
    assert sorted(starts[:9]) != starts[:9]
    again = Trainer(TINY, plan(batch=1), TEXTS)
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
    trainer = Trainer(TINY, plan(), TEXTS)
    with torch.no_grad():
        trainer.model.model.norm.weight.fill_(float("inf"))
    with pytest.raises(ValueError, match="the gradient of update 1 is not finite"):
        trainer.step()
    assert trainer.done == 0


def test_too_little_text_is_refused() -> None:
    with pytest.raises(ValueError, match="the training texts have 4 tokens, expected more than two windows of 16"):
        Trainer(TINY, plan(), [b"abc"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0, expected a whole number of at least 1"),
        ({"muon_rate": float("inf")}, "muon_rate is inf, expected a number above 0"),
        ({"precision": "fp8"}, "precision is 'fp8', expected one of bf16, fp32"),
    ],
)
def test_plans_that_cannot_be_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(**change)


def test_checkpoints_that_are_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    with pytest.raises(ValueError, match=f"{path} does not exist"):
        load_checkpoint(path)
    save_checkpoint(path, {"trainer": {}})
    whole = path.read_bytes()
    for blob in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(blob)
        with pytest.raises(ValueError, match=f"{path} is broken"):
            load_checkpoint(path)
    torch.save({"format": 9}, path)
    with pytest.raises(ValueError, match=f"{path} is no checkpoint of this program"):
        load_checkpoint(path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"done": 1})
    with pytest.raises(Exception, match=r"pickle|local"):
        save_checkpoint(path, {"done": lambda: None})
    (tmp_path / ".c.pt.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left|cannot be written"):
        save_checkpoint(path, {"weights": torch.zeros(100_000)})
    assert load_checkpoint(path)["done"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.pt"]
