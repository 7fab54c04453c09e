"""The calibrated styles of synthetic gate weights, and where each number comes from.

Sources, named in the docstrings below by their short names:

- *report*: Mixtral of Experts (arXiv 2401.04088), Table 5: how often consecutive tokens repeat an expert.
- *records*: renormalised top-1 weight over 18,668 router records of Mixtral-8x7B on HumanEval and GSM8K prompts.
- *counts*: expert counts of Mixtral-8x7B-v0.1 and OLMoE-1B-7B in five text domains, layers 0, 7 and 15, from
  allenai/OLMoE at 357454f (Apache-2.0).

Whatever is called *assumed* is measured by none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.settings.parts import FAMILIES

Curve = tuple[tuple[float, float], ...]
"""Knots ``(relative depth, value)``: linear between them, constant outside. Depth is ``layer / (layers - 1)``."""

DOMAINS: Final = ("arxiv", "book", "c4", "github", "wikipedia")
"""Text domains of *counts*, in the order of `GatingFamily.domain_strength`."""


def curve_at(curve: Curve, layers: int) -> NDArray[np.float64]:
    """Value of ``curve`` in each of ``layers`` layers, shape (layers,); a model of one layer has depth 0."""
    depth = np.arange(layers) / max(layers - 1, 1)
    knots = np.asarray(curve)
    values: NDArray[np.float64] = np.interp(depth, knots[:, 0], knots[:, 1])
    return values


@dataclass(frozen=True)
class GatingFamily:
    """A statistical style of router; it fixes neither the number of experts nor of layers.

    The router logit of an expert is ``logit_scale * (popularity + domain shift + token state)``. The token state is
    Gaussian with unit variance, so popularity and domain shift are in token standard deviations; over the experts they
    follow a Gumbel distribution, since in *counts* a few experts are used much rather than a few hardly. That token
    states are Gaussian and that layers are independent of each other is assumed.
    """

    name: str
    """Name in `FAMILIES`."""
    logit_scale: float
    """Standard deviation over tokens of an expert's logit (nats); sets how peaked the softmax is."""
    persistence: Curve
    """Correlation of the token state with that of the token before (first-order autoregression), within (-1, 1)."""
    first_repeat: Curve
    """Probability that a token takes over the first choice of the token before, besides what persistence gives."""
    popularity: Curve
    """Standard deviation over experts of the long-run bias of a layer, the same in all domains."""
    domain_shift: Curve
    """Standard deviation over experts of the bias that a domain of strength 1 adds in a layer."""
    domain_strength: tuple[float, ...]
    """Factor on `domain_shift` for each domain. Each pass draws one of the domains, all equally likely."""
    seed: int
    """Seed of the biases. They belong to the model, so they do not depend on the generator that draws the tokens."""

    def __post_init__(self) -> None:
        """Raise ValueError naming the field and the value where a field is out of its range."""
        if not 0.0 < self.logit_scale < np.inf:
            raise ValueError(f"logit_scale must be positive and finite, got {self.logit_scale}")
        if not self.domain_strength or not all(0.0 <= s < np.inf for s in self.domain_strength):
            raise ValueError(f"domain_strength must hold one or more finite values >= 0, got {self.domain_strength}")
        _check_curve("persistence", self.persistence, -0.999, 0.999)
        _check_curve("first_repeat", self.first_repeat, 0.0, 1.0)
        _check_curve("popularity", self.popularity, 0.0, 1e3)
        _check_curve("domain_shift", self.domain_shift, 0.0, 1e3)


def _check_curve(field: str, curve: Curve, low: float, high: float) -> None:
    depths = [depth for depth, _ in curve]
    if not depths or any(b <= a for a, b in pairwise(depths)):
        raise ValueError(f"{field} must hold knots of increasing depth, got {curve}")
    if not all(low <= value <= high for _, value in curve):
        raise ValueError(f"{field} must have values in [{low}, {high}], got {curve}")


_QUARTER = 7 / 31  # the layers of *counts* and *report*, as depths of Mixtral's 32 layers
_MIDDLE = 15 / 31

MIXTRAL: Final = GatingFamily(
    name="mixtral",
    logit_scale=1.77,
    persistence=((0.0, 0.02), (_MIDDLE, 0.3), (1.0, -0.05)),
    first_repeat=((0.0, 0.01), (_MIDDLE, 0.0), (1.0, 0.13)),
    popularity=((0.0, 0.07), (_QUARTER, 0.025), (_MIDDLE, 0.12), (1.0, 0.12)),
    domain_shift=((0.0, 0.055), (_QUARTER, 0.06), (_MIDDLE, 0.09), (1.0, 0.09)),
    domain_strength=(1.2, 1.2, 0.45, 1.2, 0.6),
    seed=1,
)
"""Mixtral-8x7B: 32 layers, 8 experts, top-2.

Fitted: `logit_scale` to *records*, `persistence` and `first_repeat` to *report*, the biases to the top-2 load in
*counts*. Plain Gaussian logits meet the mean, spread and quantiles of *records* within 0.015; compressing the top gap
brings that to 0.006 for two parameters in place of one, so it is left out. The last layer needs `first_repeat`: there
the first choice repeats often, though the pairs share an expert hardly more than by chance.
Assumed: the mass outside the two best experts, what lies between the knots, and that layers beyond 15 have the load
spread of layer 15. Known fault: the load of first choices is too even (layer 0: CV 0.11-0.17, in *counts* 0.23-0.35).
"""

OLMOE: Final = GatingFamily(
    name="olmoe",
    logit_scale=1.0,
    persistence=MIXTRAL.persistence,
    first_repeat=MIXTRAL.first_repeat,
    popularity=((0.0, 0.15), (_MIDDLE, 0.14), (1.0, 0.18)),
    domain_shift=((0.0, 0.42), (_MIDDLE, 0.66), (1.0, 0.66)),
    domain_strength=(1.0, 0.65, 0.34, 0.95, 1.0),
    seed=2,
)
"""OLMoE-1B-7B: 16 layers, 64 experts, top-8.

Fitted: the biases, to the top-8 load in *counts*. No weights and no repetition are published for this model. Assumed:
repetition as in Mixtral, and a `logit_scale` of 1, with which the eight best of 64 experts hold about half of the mass.
Known fault: in layer 0 the entropy is up to 0.1 bits too low for its CV, as one expert in *counts* takes nearly every
token of arxiv and the others share the rest evenly.
"""

_NONE: Curve = ((0.0, 0.0),)

UNIFORM: Final = GatingFamily(
    name="uniform",
    logit_scale=MIXTRAL.logit_scale,
    persistence=_NONE,
    first_repeat=_NONE,
    popularity=_NONE,
    domain_shift=_NONE,
    domain_strength=(0.0,),
    seed=0,
)
"""A control: independent Gaussian logits as peaked as Mixtral's; no expert is more popular, no token remembers."""

for _family in (MIXTRAL, OLMOE, UNIFORM):
    FAMILIES.register(_family.name, _family)
