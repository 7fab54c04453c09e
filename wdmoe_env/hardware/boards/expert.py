"""From fitted figures to the time of a SwiGLU expert."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Mixtral-8x7B, from its model card.
MIXTRAL_HIDDEN, MIXTRAL_INTERMEDIATE = 4096, 14336


class Figures(Protocol):
    """Effective figures: of the catalogue (`Roofline`) or of a fit (`RooflineFit`)."""

    @property
    def peak_flops(self) -> float:
        """FLOP/s."""

    @property
    def memory_bandwidth(self) -> float:
        """B/s."""

    @property
    def launch_s(self) -> float:
        """Fixed cost of a call, s."""


def expert_seconds(
    figures: Figures, tokens: Any, hidden: int, intermediate: int, weight_bits: float = 16.0
) -> NDArray[np.float64]:
    """Time of one SwiGLU expert, s, in the shape of tokens; 0 for 0 tokens.

    ``launch_s + weight bytes / memory_bandwidth + tokens * 6 * hidden * intermediate / peak_flops``: three matrices,
    one call. Fewer bits only shrink the bytes read, as dequantisation was not measured. Bytes of activations are left
    out, as in the simulator: input and output are 1.2 % of the weights for Mixtral at 256 tokens.
    """
    n = np.asarray(tokens, dtype=np.float64)
    weights = 3.0 * hidden * intermediate
    used = figures.launch_s + weights * weight_bits / 8 / figures.memory_bandwidth
    return np.asarray(np.where(n > 0, used + n * 2 * weights / figures.peak_flops, 0.0))
