"""Actions outside of their box: clipped into it with one warning, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import logger, spaces
from numpy.typing import NDArray

from wdmoe_env.envs.actions import TOLERANCE, as_array
from wdmoe_env.envs.codecs import ActionCodec
from wdmoe_env.interface import Decision, Observation


class ClippedActions:
    """An action encoding whose boxes need not be kept to.

    Many libraries sample from a Gaussian and leave it to the environment what that means. What is not a finite number,
    or has a wrong shape, is the encoding's to refuse.

    Args:
        codec: the encoding.
        strict: refuse instead of clipping.
    """

    def __init__(self, codec: ActionCodec, strict: bool = False) -> None:
        self.codec, self._strict, self._warned = codec, strict, False

    @property
    def space(self) -> spaces.Space[Any]:
        """The space of one environment's action."""
        return self.codec.space

    def decode(self, action: Any, observation: Observation) -> Decision:
        """Turn a batch of N actions into the decision they mean.

        Raises:
            ValueError: an action is not a number, has a wrong shape or, with `strict`, lies outside of its box.
        """
        return self.codec.decode(action if self._strict else self._inside(self.space, action, "action"), observation)

    def _inside(self, space: spaces.Space[Any], action: Any, name: str) -> Any:
        if isinstance(space, spaces.Dict) and isinstance(action, Mapping):
            known = space.spaces
            return {
                key: self._inside(known[key], value, f"{name}[{key!r}]") if key in known else value
                for key, value in action.items()
            }
        return self._clipped(space, as_array(action, name), name) if isinstance(space, spaces.Box) else action

    def _clipped(self, space: spaces.Box, values: NDArray[Any], name: str) -> NDArray[Any]:
        if values.dtype.kind not in "fiub" or values.shape[1:] != space.shape or not values.size:
            return values
        low, high = values.min(), values.max()
        # NaN fails both.
        if low >= space.low.max() - TOLERANCE and high <= space.high.min() + TOLERANCE:
            return values
        outside = np.any(values < space.low - TOLERANCE) or np.any(values > space.high + TOLERANCE)
        if not outside or not np.isfinite(values).all():
            return values
        self._warn(f"{name} spans {low:g} to {high:g}, outside of its box {_span(space)}")
        return np.clip(values, space.low, space.high)

    def _warn(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warn(
                f"{what}, and is clipped, from now on without a word: gymnasium.wrappers.ClipAction says so in your "
                "code, strict=True refuses it"
            )


def _span(space: spaces.Box) -> str:
    return f"from {space.low.min():g} to {space.high.max():g}"
