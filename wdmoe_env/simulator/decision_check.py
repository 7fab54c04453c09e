"""What a decision must be, before it is carried out."""

from __future__ import annotations

from typing import Any

import numpy as np

from wdmoe_env.arrays import name_of_type, unmasked
from wdmoe_env.interface import Decision
from wdmoe_env.scenario import Scenario
from wdmoe_env.system.selection import Routing

BAND_TOLERANCE = 1e-9


def in_form(decision: Any, scenario: Scenario, num_envs: int) -> Decision:
    """The decision with its bandwidth in double precision, in which all that follows is checked and summed up.

    Raises:
        ValueError: it is no decision, or an array has a wrong shape or type.
    """
    if not isinstance(decision, Decision):
        raise ValueError(f"decision is a {type(decision).__name__}, expected a Decision")
    expected = {
        "selection": (num_envs, scenario.traffic.tokens, scenario.model.experts),
        "bandwidth": (num_envs, scenario.num_devices),
    }
    for name, shape in expected.items():
        value = unmasked(getattr(decision, name), f"decision.{name}")
        if not isinstance(value, np.ndarray):
            raise ValueError(f"decision.{name} is a {name_of_type(value)}, expected a NumPy array of shape {shape}")
        if value.shape != shape:
            raise ValueError(f"decision.{name} has shape {value.shape}, expected {shape}")
    if decision.selection.dtype != np.bool_:
        raise ValueError(f"decision.selection has dtype {decision.selection.dtype}, expected bool")
    if decision.bandwidth.dtype.kind not in "fiu":
        raise ValueError(f"decision.bandwidth has dtype {decision.bandwidth.dtype}, expected real numbers")
    if decision.bandwidth.dtype == np.float64:
        return decision
    return Decision(decision.selection, decision.bandwidth.astype(np.float64))


def check_values(decision: Decision, routing: Routing, scenario: Scenario) -> None:
    """Raise a ValueError if a token has no expert or too many, or the split is no split of the band."""
    k, band, split = scenario.model.top_k, scenario.radio.bandwidth_hz, decision.bandwidth
    if routing.fewest < 1 or routing.most > k:
        raise ValueError(
            f"decision.selection gives a token {routing.fewest if routing.fewest < 1 else routing.most} experts, "
            f"expected 1 to top_k = {k}"
        )
    # Written so that NaN fails it too.
    if not split.min() >= 0.0:
        raise ValueError(f"decision.bandwidth holds {split.min()} Hz, expected only numbers of at least 0")
    if not (largest := split.sum(axis=-1).max()) <= band * (1.0 + BAND_TOLERANCE):
        raise ValueError(f"decision.bandwidth sums to {largest:.10g} Hz, expected at most {band:.10g} Hz")
