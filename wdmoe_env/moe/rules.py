"""How a router turns its softmax into the weights of the experts it chose: found out by trying it, not by its name."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

PROBES = 64
"""Made-up tokens that a router is tried with."""


@dataclass(frozen=True)
class Rule:
    """From the softmax over all experts to the weights of those that are kept.

    Attributes:
        renormalised: whether the kept weights are divided by their sum.
        factor: what they are multiplied by then.
    """

    renormalised: bool
    factor: float

    def scores(self, values: Tensor, logits: Tensor, kept: Tensor) -> Tensor:
        """Weights of the kept experts, (T, K) float32; 0 where none is kept.

        Args:
            values: (T, K) float32 softmax over all experts, of those in `logits`.
            logits: (T, K) float32 logits of the same experts.
            kept: (T, K) bool.
        """
        values = torch.where(kept, values, 0.0)
        if self.renormalised:
            total = values.sum(dim=-1, keepdim=True)
            # Where the softmax has rounded every kept expert to nothing, their logits still tell them apart.
            lost = total < torch.finfo(torch.float32).tiny
            alone = torch.softmax(logits.masked_fill(~kept, -torch.inf), dim=-1)
            values = torch.where(lost, alone, values / torch.where(lost, 1.0, total))
        return values if self.factor == 1.0 else values * self.factor


def rule_of(router: nn.Module) -> Rule:
    """Find the rule of a router module, by asking it for one expert and for all its `top_k`.

    Raises:
        ValueError: it does not choose the largest of a softmax of its logits; the message says in what it differs.
    """
    method = getattr(router, "topk_method", None) or "greedy"
    if method != "greedy":
        raise ValueError(f"it limits experts to groups (topk_method is {method!r}), expected greedy")
    factor = float(getattr(router, "routed_scaling_factor", 1.0))
    chosen = _try(router, 1)
    for rule in (Rule(True, factor), Rule(False, factor)):
        if _follows(chosen, rule) and _follows(_try(router, int(router.top_k)), rule):  # type: ignore[arg-type]
            return rule
    raise ValueError(
        f"its scores, such as {chosen[1][0, 0].item():.4g}, do not follow from the softmax of its logits "
        "(it may score by a sigmoid, or add a bias), expected the top-k of a softmax"
    )


def _try(router: nn.Module, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, scores and indices of made-up tokens, where the router chooses `top_k` experts."""
    weight, own, training = next(router.parameters()), router.top_k, router.training
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn((PROBES, weight.shape[-1]), generator=generator).to(weight.device, weight.dtype)
    try:
        router.top_k = top_k  # type: ignore[assignment]
        with torch.no_grad():
            out = router.eval()(tokens)
    except (TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"it cannot be asked for made-up tokens: {error}") from error
    finally:
        router.top_k = own
        router.train(training)
    if not (isinstance(out, tuple) and len(out) == 3 and all(isinstance(part, Tensor) for part in out)):
        raise ValueError(f"it returns a {type(out).__name__}, expected a tuple of logits, scores and indices")
    return out


def _follows(given: tuple[Tensor, Tensor, Tensor], rule: Rule) -> bool:
    logits, scores, indices = given[0].float(), given[1].float(), given[2]
    if scores.shape != indices.shape or logits.shape[0] != indices.shape[0] or logits.ndim != 2:
        return False
    weights = torch.softmax(logits, dim=-1)
    values = weights.gather(1, indices)
    largest = weights.topk(indices.shape[1], dim=-1).values.sum(dim=-1)
    expected = rule.scores(values, logits.gather(1, indices), torch.ones_like(indices, dtype=torch.bool))
    tolerance = 4.0 * torch.finfo(given[1].dtype).eps
    return torch.allclose(values.sum(dim=-1), largest, rtol=1e-5) and torch.allclose(scores, expected, rtol=tolerance)
