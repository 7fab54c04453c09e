"""What comes of a unit, and which exceptions travel."""

from __future__ import annotations

from threading import Lock
from typing import Any

import pytest

from wdmoe_env.workers.units import Failure, Unit, UnitError, outcome_of

NO_LINE: Any = None  # a unit that does not talk is not given its line


class HeldError(Exception):
    """Holds what cannot travel."""

    def __init__(self) -> None:
        super().__init__("held")
        self.lock = Lock()


class FussyError(Exception):
    """Is made of more than its message, which Python's pickles do not know."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def failing(error: Exception) -> Any:
    raise error


def failure_of(error: Exception) -> Failure:
    kind, value = outcome_of(Unit("u", failing), (error,), NO_LINE, "here")
    assert kind == "failed"
    assert isinstance(value, Failure)
    return value


def test_a_value_comes_back() -> None:
    assert outcome_of(Unit("u", max), (1, 3), NO_LINE, "here") == ("done", 3)


def test_an_exception_travels_as_it_is() -> None:
    found = failure_of(ValueError("no"))
    assert isinstance(found.raised("u", (ValueError,)), ValueError)
    other = found.raised("u", (KeyError,))
    assert isinstance(other, UnitError)
    assert str(other).startswith("u failed on here:")
    assert str(other).endswith("ValueError: no")


@pytest.mark.parametrize("error", [HeldError(), FussyError(1, 2)], ids=["holds a lock", "is made of more"])
def test_one_that_cannot_travel_is_told_by_its_traceback(error: Exception) -> None:
    found = failure_of(error)
    assert found.error is None
    told = found.raised("u", (type(error),))
    assert isinstance(told, UnitError)
    assert str(error) in str(told)
