"""How much room there is beyond the baseline `price`: what it would bring to know more, or to think ahead.

`price` is the near-optimal decision for what is observed, one layer at a time. A learned policy can beat it only where
the cell is not as it is observed, or where a decision changes later layers.

- The first rows bound what knowing brings: `price` is told more. Of measured devices it is told an affine function that
  is nowhere above their time, exact only for an affine one. Where the channel is observed as it is, gains without
  fading tell it less.
- *Load counts*: `price` that knows the cell, but for its selection takes the share of compute that a device has left to
  a power: it spares devices that are loaded or hot (1.5 times), or does not (half), for whole episodes.
- *Candidates*: in each state a few changed versions of `price` are really run on, with the very future that will come,
  followed by `price` that knows the cell, and the best sum of rewards is taken. What more layers bring over the layer
  alone is what heat, load and the time that passes are worth, as far as these candidates and this horizon show it; and
  luck: where fading follows the time that passes, each candidate meets another channel, and the oracle sees which is
  good. `--futures` judges by futures that do not come: what remains is coupling that can be foreseen.

A reward is relative to plain top-K routing in the same state: who keeps devices cool helps that reference, too. The
latency of a forward pass has no such reference, but falls with the retained mass. Validation episodes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from benchmarks import harness

from baselines.joint.rounding import Objective
from baselines.price import Price
from evaluation.estimates.statistics import estimate, paired_ratio
from wdmoe_env import Decision, Observation, Scenario, Simulator, load_scenario
from wdmoe_env.allocation import allocate_for
from wdmoe_env.arrays import FloatArray, IntArray

COLUMNS: Final = (
    *("scenario", "what decides", "episodes", "reward", "retained\nmass", "gain over\nprice, %", "95 %\ninterval"),
    *("gain over\n1 ahead, %", "95 %\ninterval", "forward\npass, ms"),
)

Decide = Callable[[Simulator], Decision]


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    scenario: list[str] = field(default_factory=lambda: ["jetson", "mobile", "paper"])
    """Presets, or paths of YAML files."""
    episodes: int = 32
    """Episodes of each row that does not look ahead."""
    lookahead_episodes: int = 4
    """Episodes of the rows that look ahead, which take minutes: so few only show whether gains are large. 0: none."""
    horizon: int = 8
    """Layers that are looked ahead, the one that is decided among them."""
    futures: int = 0
    """Random futures that candidates are judged by, each as long again. 0: the one that will come, luck included."""
    seed: int = 0
    """Seed of the episodes."""


@dataclass(frozen=True)
class Candidate:
    """`price` that knows the cell, changed: only what it selects; the split of the band stays exact.

    Attributes:
        raised: mass floor, from the scenario's (0) to 1 (1).
        objective: that of `price`.
        exponent: the share of its compute that a device has left is taken to this power.
        slower: how many times slower the most loaded device is taken to be.
    """

    raised: float = 0.0
    objective: Objective = "wlr"
    exponent: float = 1.0
    slower: float = 1.0

    def decider(self, scenario: Scenario, num_envs: int) -> Decide:
        """Decide with the whole cell known."""
        floor = scenario.reward.mass_floor
        price = Price(floor + self.raised * (1.0 - floor), self.objective)
        price.reset(scenario, num_envs)

        def decide(simulator: Simulator) -> Decision:
            seen = simulator.true_observation()
            left = np.power(1.0 - seen.load, self.exponent)
            left[np.arange(num_envs), seen.load.argmax(axis=1)] /= self.slower
            chosen = price.select(replace(seen, load=1.0 - left))
            return Decision(chosen, allocate_for(chosen, seen, scenario))

        return decide


CANDIDATES: Final = (
    Candidate(),
    *(Candidate(raised=raised) for raised in (0.2, 0.5, 1.0)),
    Candidate(objective="latency"),
    *(Candidate(exponent=exponent) for exponent in (0.5, 1.5, 2.0)),
    *(Candidate(slower=slower) for slower in (0.8, 1.25, 1.6)),
)
"""What is tried in each state; the first is `price` itself, and is taken where none is better."""


@dataclass(frozen=True)
class Episodes:
    """What a way to decide brought: (N,) means over the layers, milliseconds of a forward pass, and first passes."""

    reward: FloatArray
    mass: FloatArray
    pass_ms: FloatArray
    passes: IntArray


@dataclass(frozen=True)
class Row:
    """Means over the episodes; gains are relative means of paired ratios, 0.01 is 1 %, with their 95 % intervals.

    `gain` is over `price` in the same episodes, `ahead` over the candidates judged by their own layer; None: does not
    apply.
    """

    scenario: str
    method: str
    episodes: int
    reward: float
    retained_mass: float
    pass_ms: float
    gain: float
    gain_ci95: tuple[float, float]
    ahead: float | None = None
    ahead_ci95: tuple[float, float] | None = None


def averages(simulator: Simulator) -> Observation:
    """What is observed, with the running averages of the gains for the last ones: any policy could know this."""
    seen = simulator.observation
    return replace(seen, gain_dl=seen.average_gain_dl, gain_ul=seen.average_gain_ul)


def averages_of_both_links(simulator: Simulator) -> Observation:
    """The same, with the geometric mean of both links' averages for each: they share the path, but not the fading."""
    seen = simulator.observation
    both = np.sqrt(seen.average_gain_dl * seen.average_gain_ul)
    return replace(seen, gain_dl=both, gain_ul=both)


def path_gain(simulator: Simulator) -> Observation:
    """What is observed, with true gains but for the fading."""
    path = np.broadcast_to(simulator.cell.path_gain, simulator.cell.gain.shape)
    return replace(simulator.observation, gain_dl=path[:, 0], gain_ul=path[:, 1])


def true_channel(simulator: Simulator) -> Observation:
    """The true channels; of measured devices what policies know, the median."""
    return replace(simulator.true_observation(), compute=None)


KNOWN: Final[dict[str, Callable[[Simulator], Observation]]] = {
    "price": lambda simulator: simulator.observation,
    "price, average gains": averages,
    "price, average gains of both links": averages_of_both_links,
    "oracle: gains without fading": path_gain,
    "oracle: true channel": true_channel,
    "oracle: true channel and compute": Simulator.true_observation,
}
"""What `price` is told."""


def knowing(see: Callable[[Simulator], Observation], scenario: Scenario, num_envs: int) -> Decide:
    """`price` on what `see` shows of the cell."""
    price = Price()
    price.reset(scenario, num_envs)
    return lambda simulator: price.decide(see(simulator))


def looking_ahead(scenario: Scenario, num_envs: int, horizon: int, futures: int = 0) -> Decide:
    """Take the candidate with the most reward over `horizon` layers, or to the episode's end.

    Candidates are judged by what will happen, or by the mean over `futures` other ones, the same for all of them.
    """
    candidates = [candidate.decider(scenario, num_envs) for candidate in CANDIDATES]
    after = candidates[0]

    def value(simulator: Simulator, decision: Decision) -> FloatArray:
        layers = min(horizon, scenario.steps_per_episode - simulator.steps)
        total = simulator.step(decision).reward
        for _ in range(layers - 1):
            total = total + simulator.step(after(simulator)).reward
        return total

    def decide(simulator: Simulator) -> Decision:
        now, step = simulator.state(), simulator.steps
        tried = [candidate(simulator) for candidate in candidates]
        # The state holds the generator: without another one, the future is that which will come.
        others = [np.random.default_rng([step, future, 1]) for future in range(futures)]
        values = np.zeros((len(tried), num_envs))
        for rng in others or [now.rng]:
            for index, decision in enumerate(tried):
                simulator.restore(replace(now, rng=rng))
                values[index] += value(simulator, decision)
        simulator.restore(now)
        best, cell = values.argmax(axis=0), np.arange(num_envs)
        selection = np.stack([decision.selection for decision in tried])[best, cell]
        return Decision(selection, np.stack([decision.bandwidth for decision in tried])[best, cell])

    return decide


def run(decide: Decide, scenario: Scenario, num_envs: int, seed: int) -> Episodes:
    """Run one validation episode in every environment."""
    simulator = Simulator(scenario, num_envs, "validation")
    simulator.reset(seed)
    passes = simulator.passes.copy()
    steps = [simulator.step(decide(simulator)).metrics for _ in range(scenario.steps_per_episode)]
    reward, mass, seconds = (np.mean([s[n] for s in steps], axis=0) for n in ("reward", "retained_mass", "latency"))
    return Episodes(reward, mass, seconds * scenario.model.layers * 1e3, passes)


def told(scenario: Scenario, num_envs: int) -> Iterator[tuple[str, Decide]]:
    """Name and way to decide of the rows that do not look ahead."""
    for method, see in KNOWN.items():
        yield method, knowing(see, scenario, num_envs)
    for much, exponent in (("half", 0.5), ("1.5 times", 1.5)):
        yield f"oracle: load counts {much}", Candidate(exponent=exponent).decider(scenario, num_envs)


def relative(found: Episodes, reference: Episodes) -> tuple[float, tuple[float, float]]:
    """Gain over a reference in the same episodes, and its interval."""
    gain = estimate([paired_ratio(found.reward, reference.reward) - 1.0], clusters=found.passes)
    return gain.mean, (gain.low, gain.high)


def compared(scenario: Scenario, method: str, found: Episodes, price: Episodes, near: Episodes | None = None) -> Row:
    """What was found next to `price`, and next to the candidates judged by their own layer."""
    reward, mass, pass_ms = (float(values.mean()) for values in (found.reward, found.mass, found.pass_ms))
    ahead = (None, None) if near is None else relative(found, near)
    return Row(scenario.name, method, len(found.reward), reward, mass, pass_ms, *relative(found, price), *ahead)


def measure(scenario: Scenario, options: Options) -> Iterator[Row]:
    """Yield the rows of a scenario; those that look ahead are compared in episodes of their own."""
    price = None
    for method, decide in told(scenario, options.episodes):
        found = run(decide, scenario, options.episodes, options.seed)
        price = price or found
        yield compared(scenario, method, found, price)
    if few := options.lookahead_episodes:
        price = run(knowing(KNOWN["price"], scenario, few), scenario, few, options.seed)
        yield compared(scenario, "price", price, price)
        near = run(looking_ahead(scenario, few, 1), scenario, few, options.seed)
        yield compared(scenario, "oracle: candidates, 1 ahead", near, price)
        far = run(looking_ahead(scenario, few, options.horizon, options.futures), scenario, few, options.seed)
        futures = f", {options.futures} futures" if options.futures else ""
        yield compared(scenario, f"oracle: candidates, {options.horizon} ahead{futures}", far, price, near)


def interval(gain: float | None, ci95: tuple[float, float] | None) -> list[str]:
    """A gain and its interval as text, in percent."""
    if gain is None or ci95 is None:
        return ["", ""]
    return [f"{100 * gain:+.2f}", f"{100 * ci95[0]:+.2f} to {100 * ci95[1]:+.2f}"]


def cells(row: Row) -> list[str]:
    """A row as text."""
    return [
        *(row.scenario, row.method, str(row.episodes), f"{row.reward:.4f}", f"{row.retained_mass:.4f}"),
        *(*interval(row.gain, row.gain_ci95), *interval(row.ahead, row.ahead_ci95), f"{row.pass_ms:.1f}"),
    ]


def main(options: Options) -> None:
    title = "Room beyond price: reward and latency in validation episodes"
    with harness.Report(options, COLUMNS, title=title, text=2) as report:
        for name in options.scenario:
            print(f"{name} ...", file=sys.stderr, flush=True)
            report.section()
            for found in measure(load_scenario(name), options):
                report.add(found, cells(found))


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__, one_thread=True))
