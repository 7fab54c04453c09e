"""Joint decisions of experts and bandwidth next to the proven bound: latency, retained mass, reward, time to decide.

All methods decide the same held-out states and are told the true channels: this is about the decision, not about stale
channel state. Bars: `price` at the mass floor within 1 % of the bound in the mean for `paper`, within 2 % for `mobile`;
in a batch of 64 for `paper`, `price` within 1 ms a state and the bound within 0.3 s.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from benchmarks import harness

import baselines
from baselines import bound
from baselines.joint.problem import joint_problem
from evaluation.episodes.plan import Plan
from evaluation.estimates.statistics import estimate, paired_ratio
from wdmoe_env import Decision, Observation, Policy, Scenario, Simulator, load_scenario, preset_names
from wdmoe_env.arrays import FloatArray, IntArray
from wdmoe_env.system import metrics, selection
from wdmoe_env.system.compute import compute_time
from wdmoe_env.system.latency import carrier_to_noise_density
from wdmoe_env.system.layer import layer_times

METHODS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "top-k": ("top-k", {}),
    "top-k+bandwidth": ("top-k+bandwidth", {}),
    "wdmoe": ("wdmoe", {}),
    "wdmoe, SLSQP": ("wdmoe", {"solver": "slsqp"}),
    "wdmoe, theta 0.5": ("wdmoe", {"theta_start": 0.5}),
    "dynamic-skipping": ("dynamic-skipping", {}),
    "constant-price": ("constant-price", {}),
    "price, latency": ("price", {"objective": "latency"}),
    "price, latency, drops": ("price", {"objective": "latency", "candidates": "top-k"}),
    "price": ("price", {}),
}
"""What is compared: baseline and options of each, plain top-K first. `wdmoe` starts low unless it says so."""
COLUMNS: Final = (
    *("method", "retained\nmass", "below\nfloor", "latency\n/ top-k", "95 %\ninterval", "bound at\nthat mass"),
    *("gap,\nmean", "gap,\nlargest", "reward", "of its\nbound", "us, batch", "us, one"),
)
SINGLES: Final = 8
"""States whose decisions are timed one by one."""
ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    scenarios: list[str] = field(default_factory=preset_names)
    """Presets, or paths of YAML files."""
    steps: int = 200
    """States of each, every one from an episode of its own, evenly spread over the steps of the episodes."""
    batch: int = 64
    """States that are decided at once where that is timed."""
    seed: int = 0
    """Seed of the held-out episodes."""
    repeats: int = 9
    """Timings of each, of which the median counts."""
    seconds: float = 1.0
    """No more timings of the same are started after so long."""


@dataclass(frozen=True)
class States:
    """Single layers as they truly are: (N,) cells, and the forward pass whose gate weights each of them has."""

    scenario: Scenario
    observation: Observation
    passes: IntArray


@dataclass(frozen=True)
class Result:
    """What decisions lead to: (N,) retained mass, seconds and reward."""

    mass: FloatArray
    latency: FloatArray
    reward: FloatArray


@dataclass(frozen=True)
class Limits:
    """What no decision can beat: (N,) seconds at the mass floor, reward, and seconds at masses that were asked for."""

    latency: FloatArray
    reward: FloatArray
    known: dict[bytes, FloatArray] = field(default_factory=dict)

    def latency_at(self, mass: FloatArray, states: States) -> FloatArray:
        """Bound on the latency at (N,) retained masses; methods that keep the same share it."""
        key = mass.tobytes()
        if key not in self.known:
            self.known[key] = bound.latency_bound(states.observation, states.scenario, mass)
        return self.known[key]


@dataclass(frozen=True)
class Row:
    """A method or a bound in one scenario: microseconds of one core a state, and means over the states.

    `latency_ratio` is latency over plain top-K's in the same state, with its 95 % interval; `bound_ratio` is the same
    for the bound at the mass that the method keeps in each state. `gap` is latency over that bound, less 1, largest in
    state `worst_state`; `floor_gap` is latency over the bound at the mass floor, less 1. None: does not apply.
    """

    scenario: str
    method: str
    states: int
    batch_us: float
    single_us: float
    retained_mass: float | None = None
    below_floor: float | None = None
    latency_ratio: float | None = None
    latency_ci95: tuple[float, float] | None = None
    bound_ratio: float | None = None
    gap_mean: float | None = None
    gap_max: float | None = None
    worst_state: int | None = None
    floor_gap_mean: float | None = None
    floor_gap_max: float | None = None
    reward: float | None = None
    reward_share: float | None = None


def gathered(parts: Sequence[tuple[Observation, IntArray]]) -> Observation:
    """Copy some rows of each observation into one, stored expert by expert as in the simulator.

    Measured devices take what policies know of them, the median: this is about the decision, not about their spread.
    """
    seen = Observation.join([cells.take(rows) for cells, rows in parts])
    weights = selection.by_expert(seen.gate_weights).swapaxes(1, 2)
    plain = None if seen.routed is None else selection.by_expert(seen.routed).swapaxes(1, 2)
    return replace(seen, gate_weights=weights, routed=plain, compute=None)


def draw_states(scenario: Scenario, count: int, seed: int) -> States:
    """Take one state from each of `count` held-out episodes that plain top-K routing runs in."""
    policy, parts, passes, first = baselines.make("top-k"), [], [], 0
    for chunk_seed, size in Plan(count, seed).chunks(scenario):
        simulator = Simulator(scenario, size, split="test")
        policy.reset(scenario, size)
        simulator.reset(chunk_seed)
        at = (first + np.arange(size)) * scenario.steps_per_episode // count
        first += size
        for step in range(at.max() + 1):
            rows = np.flatnonzero(at == step)
            if rows.size:
                parts.append(gathered([(simulator.true_observation(), rows)]))
                passes.append(simulator.passes[rows])
            if step < at.max():
                simulator.step(policy.decide(simulator.observation))
    together = gathered([(part, np.arange(len(part.layer))) for part in parts])
    return States(scenario, together, np.concatenate(passes))


def outcome_of(decision: Decision, states: States) -> Result:
    """Retained mass, latency and reward of decisions; gate mass in double precision, as the bound has it."""
    seen, scenario, setting = states.observation, states.scenario, states.scenario.reward
    cn0 = carrier_to_noise_density(seen.gain_dl, seen.gain_ul, scenario.radio_link)
    tokens = selection.tokens_per_expert(decision.selection)
    compute = scenario.compute_model
    computation = compute_time(tokens, seen.load, compute)
    times = layer_times(compute.per_device(tokens), computation, decision.bandwidth, cn0, scenario.radio_link)
    kept = (seen.gate_weights * decision.selection).sum(axis=(1, 2), dtype=np.float64)
    mass = np.minimum(kept / joint_problem(seen, scenario).plain_mass, 1.0)
    plain = bound.plain_wlr(seen, scenario)
    reference = plain if setting.normalize == "top-k" else 1.0
    ratio = kept / times.latency
    reward = metrics.reward(ratio, reference, mass, setting.mass_floor, setting.penalty, plain, setting.scale)
    return Result(mass, times.latency, reward)


def median_us(work: Callable[[], object], states: int, options: Options) -> float:
    """Median processor time of `work` for each state, microseconds; the first run counts only if it fills the time.

    All runs on one thread, so that this is the time on a core of its own, whatever else the machine does.
    """
    spent: list[float] = []
    while not spent or (len(spent) <= options.repeats and sum(spent) < options.seconds):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return float(np.median(spent[1:] or spent)) / states * 1e6


def timings(decide: Callable[[Observation], object], states: States, options: Options) -> tuple[float, float]:
    """Microseconds a state, in a batch and one by one."""
    seen, count = states.observation, len(states.passes)
    batch = gathered([(seen, np.arange(options.batch) % count)])
    single = [gathered([(seen, np.array([index]))]) for index in range(min(SINGLES, count))]
    together = median_us(lambda: decide(batch), options.batch, options)
    return together, median_us(lambda: [decide(one) for one in single], len(single), options)


def check_below(low: FloatArray, high: FloatArray, what: str, states: States) -> None:
    """Raise an ArithmeticError if a bound is broken in any state."""
    broken = np.flatnonzero(~(low <= high + ROUNDING * np.abs(high)))
    if broken.size:
        index = broken[0]
        raise ArithmeticError(
            f"{states.scenario.name}, state {index}: {what} is {low[index]:.10g}, above {high[index]:.10g}"
        )


def measure_method(method: str, states: States, limits: Limits, plain: FloatArray, options: Options) -> Row:
    """Judge and time one method; `plain` is the (N,) latency of plain top-K routing."""
    name, settings = METHODS[method]
    policy: Policy = baselines.make(name, **settings)
    policy.reset(states.scenario, len(plain))
    result = outcome_of(policy.decide(states.observation), states)
    least = limits.latency_at(result.mass, states)
    check_below(least, result.latency, f"bound on the latency of {method}", states)
    check_below(result.reward, limits.reward, f"reward of {method}", states)
    ratio = estimate([paired_ratio(result.latency, plain)], clusters=states.passes)
    gap, floor_gap = (paired_ratio(result.latency, value) - 1.0 for value in (least, limits.latency))
    return Row(
        *(states.scenario.name, method, len(plain)),
        *timings(policy.decide, states, options),
        retained_mass=float(result.mass.mean()),
        below_floor=float((result.mass < states.scenario.reward.mass_floor - bound.MASS_TOLERANCE).mean()),
        latency_ratio=ratio.mean,
        latency_ci95=(ratio.low, ratio.high),
        bound_ratio=float(paired_ratio(least, plain).mean()),
        gap_mean=float(gap.mean()),
        gap_max=float(gap.max()),
        worst_state=int(gap.argmax()),
        floor_gap_mean=float(floor_gap.mean()),
        floor_gap_max=float(floor_gap.max()),
        reward=float(result.reward.mean()),
        reward_share=float(result.reward.mean() / limits.reward.mean()),
    )


def measure(scenario: Scenario, options: Options) -> Iterator[Row]:
    """Yield the rows of a scenario: one a method, and two for the bounds.

    Raises:
        ArithmeticError: a method beats a bound.
    """
    states = draw_states(scenario, options.steps, options.seed)
    seen, floor = states.observation, scenario.reward.mass_floor

    def fastest(cells: Observation) -> FloatArray:
        return bound.latency_bound(cells, scenario, floor)

    def most(cells: Observation) -> FloatArray:
        return bound.reward_bound(cells, scenario)

    limits = Limits(fastest(seen), most(seen))
    first = baselines.make("top-k")
    first.reset(scenario, options.steps)
    plain = outcome_of(first.decide(seen), states).latency
    for method in METHODS:
        yield measure_method(method, states, limits, plain, options)
    head, ratio = (scenario.name, "bound at the floor", options.steps), paired_ratio(limits.latency, plain)
    ends = estimate([ratio], clusters=states.passes)
    yield Row(
        *(*head, *timings(fastest, states, options)),
        retained_mass=floor,
        latency_ratio=ends.mean,
        latency_ci95=(ends.low, ends.high),
        bound_ratio=ends.mean,
    )
    head = (scenario.name, "bound on the reward", options.steps)
    yield Row(*head, *timings(most, states, options), reward=float(limits.reward.mean()), reward_share=1.0)


def cells(row: Row) -> list[str]:
    """A row as the table shows it."""
    ends = row.latency_ci95
    shown = (
        *((row.retained_mass, "{:.3f}"), (row.below_floor, "{:.0%}"), (row.latency_ratio, "{:.3f}")),
        (None if ends is None else f"{ends[0]:.3f}-{ends[1]:.3f}", "{}"),
        *((row.bound_ratio, "{:.3f}"), (row.gap_mean, "{:.2%}"), (row.gap_max, "{:.1%}")),
        *((row.reward, "{:.3f}"), (row.reward_share, "{:.1%}")),
        *((row.batch_us, "{:,.0f}"), (row.single_us, "{:,.0f}")),
    )
    return [row.method, *("" if value is None else form.format(value) for value, form in shown)]


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """Say where the gains of a scenario's methods come from, in points: percent of plain top-K's latency."""
    found = {row.method: row for row in rows}
    gain = {name: 100.0 * (1.0 - row.latency_ratio) for name, row in found.items() if row.latency_ratio is not None}
    left = {name: 100.0 * (1.0 - row.bound_ratio) - gain[name] for name, row in found.items() if row.bound_ratio}
    band = gain["top-k+bandwidth"]
    for name in ("wdmoe", "wdmoe, theta 0.5", "price, latency"):
        yield (
            f"{rows[0].scenario}, {name} (mass {found[name].retained_mass:.3f}): {gain[name]:.1f} % less latency than "
            f"top-k. The band alone brings {band:.1f} points, the selection {gain[name] - band:.1f} more; the bound at "
            f"the same mass leaves room for {left[name]:.2f} more."
        )
    newton, slsqp, price = (found[name] for name in ("wdmoe", "wdmoe, SLSQP", "price, latency"))
    yield (
        f"{rows[0].scenario}, SLSQP in wdmoe: {slsqp.batch_us / newton.batch_us:.0f} times as long in a batch, latency "
        f"{abs(gain['wdmoe, SLSQP'] - gain['wdmoe']):.0e} points apart."
    )
    yield (
        f"{rows[0].scenario}, price at the mass floor: {price.floor_gap_mean:.2%} above the bound in the mean, "
        f"{price.floor_gap_max:.1%} at most."
    )


def main(options: Options) -> None:
    title = f"Joint decisions in {options.steps} states, latency and reward; us of one core a state"
    with harness.Report(options, COLUMNS, title=title) as report:
        for name in options.scenarios:
            print(f"{name} ...", file=sys.stderr, flush=True)
            scenario, rows = load_scenario(name), []
            report.heading(scenario.name)
            for row in measure(scenario, options):
                rows.append(row)
                report.add(row, cells(row))
            for line in verdicts(rows):
                report.note(line)


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__, one_thread=True))
