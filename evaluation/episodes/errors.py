"""The error of a comparison that cannot go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wdmoe_env import Scenario


class EvaluationError(Exception):
    """A comparison was asked for wrongly or cannot go on; the message says what is at fault and what helps."""


@contextmanager
def blaming(policy: str, scenario: Scenario, step: int) -> Iterator[None]:
    """Turn a ValueError into an EvaluationError that names policy, scenario and step."""
    try:
        yield
    except ValueError as error:
        raise EvaluationError(f"policy {policy!r} in scenario {scenario.name!r}, step {step}: {error}") from error
