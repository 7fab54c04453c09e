"""Few tokens and many experts: `price`, the proven bound above the mass floor, and the exact optimum.

Two models on the boards of `jetson`: Mixtral in 4 bits with one expert a board, and the 64 experts of OLMoE, eight a
board, K = 8. The exact optimum is HiGHS's, of a mixed-integer program that shares no code with what is measured. Bars:
bound >= exact >= price always; up to 8 tokens exact at least 97 % of the bound in the mean, `price` at least 98 % of
exact in the mean and 90 % in the worst state; at 16 and 64 tokens of OLMoE `price` at least 95 % of the bound.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from benchmarks import harness
from benchmarks.joint import States, check_below, draw_states, outcome_of
from benchmarks.milp import most_wlr

import baselines
from baselines import bound
from baselines.joint.problem import joint_problem
from wdmoe_env import Scenario, load_scenario
from wdmoe_env.arrays import FloatArray

SHAPES: Final[dict[str, dict[str, Any]]] = {
    "mixtral": {},
    "olmoe": {
        "model": {
            "name": "olmoe-1b-7b",
            "layers": 16,
            "hidden_size": 2048,
            "intermediate_size": 1024,
            "experts": 64,
            "top_k": 8,
        },
        "gating": {"family": "olmoe"},
    },
}
GAP: Final = 1e-3
"""To within which part the exact optimum is known."""


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    shapes: list[str] = field(default_factory=lambda: list(SHAPES))
    tokens: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16, 64])
    states: int = 200
    """States of each, every one from a held-out episode of its own."""
    exact: int = 0
    """States of each whose exact optimum is found, where there are at most 8 tokens; seconds each with many experts."""
    seed: int = 0
    """Seed of the states."""


@dataclass(frozen=True)
class Row:
    """A shape with so many tokens: ratios above the floor, means and worst states; milliseconds of a state.

    `exact` is the exact optimum over the bound, `price_exact` what `price` reaches of it. None: not asked for.
    """

    shape: str
    tokens: int
    price: float
    price_worst: float
    plain: float
    price_ms: float
    bound_ms: float
    exact: float | None = None
    exact_worst: float | None = None
    price_exact: float | None = None
    price_exact_worst: float | None = None
    exact_ms: float | None = None


def scenario_of(shape: str, tokens: int) -> Scenario:
    """A shape with so many tokens a pass."""
    changes = {name: dict(values) for name, values in SHAPES[shape].items()}
    changes["gating"] = {**changes.get("gating", {}), "bank_passes": 16}
    return load_scenario("jetson", traffic={"tokens": tokens}, **changes)


def reached(policy_name: str, states: States) -> tuple[FloatArray, float]:
    """Gate mass over latency (N,) of a policy, and milliseconds of a state."""
    policy = baselines.make(policy_name)
    policy.reset(states.scenario, len(states.passes))
    decision, ms = timed(lambda: policy.decide(states.observation), len(states.passes))
    result = outcome_of(decision, states)
    return result.mass * joint_problem(states.observation, states.scenario).plain_mass / result.latency, ms


def timed(work: Callable[[], Any], states: int) -> tuple[Any, float]:
    """What `work` returns, and milliseconds of processor time for each state."""
    start = time.process_time()
    found = work()
    return found, 1e3 * (time.process_time() - start) / states


def measure(shape: str, tokens: int, options: Options) -> Row:
    """Measure a shape.

    Raises:
        ArithmeticError: a decision or the exact optimum is above the bound, or `price` above the exact optimum.
    """
    scenario = scenario_of(shape, tokens)
    states = draw_states(scenario, options.states, options.seed)
    reached("price", draw_states(scenario, 1, 0))  # compiles
    price, price_ms = reached("price", states)
    plain, _ = reached("top-k+bandwidth", states)
    most, bound_ms = timed(lambda: bound.wlr_bound(states.observation, scenario), options.states)
    check_below(price, most, f"{shape}, {tokens} tokens: ratio of price", states)
    share = price / most
    known = (float(share.mean()), float(share.min()), float((plain / most).mean()), price_ms, bound_ms)
    count = min(options.exact, options.states) if tokens <= 8 else 0
    if not count:
        return Row(shape, tokens, *known)
    floor = scenario.reward.mass_floor

    def solve() -> FloatArray:
        found = [most_wlr(states.observation, scenario, cell, floor, float(price[cell]), GAP) for cell in range(count)]
        return np.array(found)

    found, exact_ms = timed(solve, count)
    exact = found[:, 0]
    check_below(exact, most[:count] * (1.0 + 2e-6), f"{shape}, {tokens} tokens: exact optimum", states)
    part = exact / most[:count]
    least = price[:count] / exact
    return Row(
        shape, tokens, *known, float(part.mean()), float(part.min()), float(least.mean()), float(least.min()), exact_ms
    )


def rows(options: Options) -> Iterator[Row]:
    """Yield all rows."""
    for shape in options.shapes:
        for tokens in options.tokens:
            yield measure(shape, tokens, options)


HEADS: Final = (
    *("shape", "tokens", "price / bound", "worst", "top-k+bandwidth", "ms price", "ms bound"),
    *("exact / bound", "worst", "price / exact", "worst", "ms exact"),
)
FORMS: Final = (*["{:.1%}"] * 3, *["{:.1f}"] * 2, *["{:.1%}"] * 4, "{:,.0f}")


def main(options: Options) -> None:
    title = f"Mass over latency above the floor, {options.states} states; ms of one core a state"
    with harness.Report(options, HEADS, title=title) as report:
        for row in rows(options):
            values = list(asdict(row).values())[2:]
            cells = ["" if value is None else form.format(value) for form, value in zip(FORMS, values, strict=True)]
            report.add(row, [row.shape, str(row.tokens), *cells])


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__, one_thread=True))
