"""What an exported policy is given: the fields of an Observation as they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wdmoe_env.interface import Observation


class RawObservation(NamedTuple):
    """What a policy may know, as tensors; see `wdmoe_env.Observation`, whose fields and types these are."""

    gain_dl: Tensor
    gain_ul: Tensor
    average_gain_dl: Tensor
    average_gain_ul: Tensor
    gate_weights: Tensor
    load: Tensor
    last_device_time: Tensor
    layer: Tensor


def input_feed(observation: Observation) -> dict[str, NDArray[Any]]:
    """The fields of a `RawObservation` by name, as arrays that own their memory."""
    return {name: np.array(getattr(observation, name)) for name in RawObservation._fields}
