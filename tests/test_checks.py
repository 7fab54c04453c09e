"""Checks of dataclasses: every fault is told as parameter, value and expectation."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from pydantic import Field

from wdmoe_env.checks import check_fields


class WrongError(Exception):
    pass


@dataclass(frozen=True)
class Sizes:
    count: Annotated[int, Field(ge=1, le=10_000)] = 1
    share: Annotated[float, Field(ge=0)] = 0.0
    rate: Annotated[float, Field(gt=0)] = 1.0
    name: Annotated[str, Field(min_length=1)] = "a"
    kind: Literal["round", "square"] = "round"
    steps: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1,)
    most: Annotated[int, Field(ge=1)] | None = None


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        ("count", (0, 10_001, 1.0, True, "1", None), "a whole number from 1 to 10,000"),
        ("share", (-0.1, float("nan"), float("inf"), True, "0"), "a number of at least 0"),
        ("rate", (0, 0.0, -1), "a number above 0"),
        ("name", ("", 3), "a text that is not empty"),
        ("kind", ("oval", None, []), "one of round, square"),
        ("steps", ((), (0,), (1, 0), [1], 1), "one or more, each a whole number of at least 1"),
        ("most", (0, 1.5), "a whole number of at least 1 or nothing"),
    ],
)
def test_every_wrong_value_is_told(field, values, expected):
    for value in values:
        with pytest.raises(ValueError) as caught:
            check_fields(Sizes(**{field: value}))
        assert str(caught.value) == f"{field} is {value!r}, expected {expected}"


def test_what_is_right_passes():
    check_fields(Sizes())
    check_fields(Sizes(10_000, 2, 1e-9, "b", "square", (3, 1), 7))


def test_names_and_the_error_may_be_others():
    with pytest.raises(WrongError, match=r"^--count is 0, expected"):
        check_fields(Sizes(count=0), lambda name: f"--{name}", WrongError)
