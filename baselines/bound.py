"""How good any decision can be: proven bounds on latency, weight-to-latency ratio and reward, for single layers.

They hold for every expert selection, re-routing included, and every split of the band, given the channels and loads of
the observation. Statement, proof and assumptions: docs/explanation/optimum.md. A bound for stale or noisy observations
speaks of the cell as it was observed; for the cell as it is, take `Simulator.true_observation()`.

>>> import wdmoe_env
>>> scenario = wdmoe_env.load_scenario("paper", gating={"bank_passes": 1})
>>> observation = wdmoe_env.Simulator(scenario, num_envs=2).reset(seed=0)
>>> latency_bound(observation, scenario, retained_mass=0.95).shape
(2,)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from baselines.joint.lines import Frontier as Frontier
from baselines.joint.lines import higher_of, raised
from baselines.joint.prices import find_prices
from baselines.joint.problem import JointProblem, joint_problem, least_fixed, least_latency, whole_matters
from baselines.joint.proof import free_mass, proved_latency
from baselines.joint.rounding import Objective, exact_latency
from baselines.price import Price
from wdmoe_env import allocation
from wdmoe_env.arrays import FloatArray, IntArray
from wdmoe_env.interface import Observation, plain_sums
from wdmoe_env.scenario import Scenario
from wdmoe_env.system import metrics, selection
from wdmoe_env.system.compute import compute_time
from wdmoe_env.system.latency import carrier_to_noise_density
from wdmoe_env.system.layer import layer_times

STEPS = 24
"""Points that the search for prices tries; more prove hardly anything in addition, except in rare cells."""
BELOW, ABOVE = (0.0, 0.3, 0.5, 0.65, 0.75, 0.85, 0.92, 0.97), (0.25, 0.5, 1.0)
"""Where the frontier behind the bound on reward is taken: parts of the floor, and parts of the way from it to 1."""
MASS_TOLERANCE = 2e-6
"""Retained mass below the floor that counts as rounding: the reward's own tolerance, and single precision."""
TINY = 1e-300
UNBOUNDED = "no bound is known where radio.medium is 'shared', or radio.token_once saves transfers"


def latency_bound(
    observation: Observation, scenario: Scenario, retained_mass: float | FloatArray, exact: bool = False
) -> FloatArray:
    """Return a proven lower bound on the layer's latency over all decisions that keep the mass: (N,) seconds.

    Args:
        observation: N cells.
        scenario: what is simulated.
        retained_mass: what is kept of plain top-K routing's gate mass, 0 to 1: one number, or (N,).
        exact: branch until the bound is within 0.1 % of what `price` reaches, if that many branches suffice.

    Raises:
        ValueError: a retained mass is not within 0 to 1; or the scenario is not `bounded`.
    """
    problem = _problem(observation, scenario)
    mass = _checked(retained_mass) * problem.plain_mass
    fixed_s = least_fixed(problem, mass)
    prices = find_prices(problem, mass, mass, fixed_s, STEPS)
    proved = np.maximum(proved_latency(problem, fixed_s, prices, mass), least_latency(problem))
    rows = _hard(problem, exact)
    if not len(rows):
        return proved
    from baselines.joint import strong  # compiles: only where it is needed

    cells, kept = observation.take(rows), np.broadcast_to(_checked(retained_mass), proved.shape)[rows]
    reached, part = _reached(cells, scenario, kept, "latency")[1], joint_problem(cells, scenario)
    proved[rows] = strong.least_seconds(part, reached, proved[rows], mass[rows], strong.effort_of(part, exact))
    return proved


def frontier(observation: Observation, scenario: Scenario, retained_mass: Sequence[float]) -> Frontier:
    """Return the proven frontier, from bounds at the rising `retained_mass` and what their prices prove in between.

    Raises:
        ValueError: there is no mass, they do not rise, or one is not within 0 to 1; or the scenario is not `bounded`.
    """
    grid = _checked(np.asarray(retained_mass, dtype=np.float64))
    if grid.ndim != 1 or not len(grid) or not (np.diff(grid) > 0).all():
        raise ValueError(f"retained_mass is {retained_mass!r}, expected rising numbers")
    problem = _problem(observation, scenario)
    masses = grid[:, None] * problem.plain_mass
    fixed_s = least_fixed(problem, masses[0])
    prices = [find_prices(problem, mass, mass, fixed_s, STEPS) for mass in masses]

    free = [free_mass(problem, found) / problem.plain_mass for found in prices]

    def proved(index: int, at: int) -> FloatArray:
        return proved_latency(problem, fixed_s, prices[index], masses[at])

    def chord(index: int, left: int, right: int) -> tuple[FloatArray, FloatArray]:
        # Prices prove a concave function of the mass, so that the chord between two of its values is proved as well.
        # Where they prove nothing at the left end, the chord from where they begin to; it is below 0 before.
        begin, end = proved(index, left), proved(index, right)
        short, width = np.clip(free[index] - grid[left], 0.0, None), grid[right] - grid[left]
        return np.where(short > 0, -end * short / np.maximum(width - short, TINY), begin), end

    points = [(np.full(len(fixed_s), grid[0]), proved(0, 0))]
    for left, right in pairwise(range(len(grid))):
        points += higher_of((grid[left], grid[right]), chord(left, left, right), chord(right, left, right))
    mass, latency = (np.stack(values, axis=1) for values in zip(*points, strict=True))
    return raised(Frontier(mass, latency), least_latency(problem))


def wlr_bound(
    observation: Observation, scenario: Scenario, line: Frontier | None = None, exact: bool = False
) -> FloatArray:
    """Return a proven upper bound on block WLR over all decisions that keep the scenario's mass floor: (N,) 1/s.

    Args:
        observation: N cells.
        scenario: what is simulated.
        line: the frontier of these cells from the floor on, if it is known already.
        exact: branch until the bound is within 0.1 % of what `price` reaches, if that many branches suffice.
    """
    floor = scenario.reward.mass_floor
    line = frontier(observation, scenario, np.unique([floor, *_above(floor)]).tolist()) if line is None else line
    problem = _problem(observation, scenario)
    known = np.where(line.mass >= floor - MASS_TOLERANCE, _ratios(problem, line), 0.0).max(axis=1)
    rows = _hard(problem, exact)
    if not len(rows):
        return known
    from baselines.joint import strong  # compiles: only where it is needed

    cells = observation.take(rows)
    (mass, latency), part = _reached(cells, scenario, floor, "wlr"), joint_problem(cells, scenario)
    least = (floor - MASS_TOLERANCE) * part.plain_mass
    known[rows] = strong.most_ratio(part, mass / latency, known[rows], least, strong.effort_of(part, exact))
    return known


def _hard(problem: JointProblem, exact: bool) -> IntArray:
    """Cells whose bound takes more than one price a device: all of them where an exact bound is asked for."""
    return np.flatnonzero(whole_matters(problem) | exact)


def _reached(
    observation: Observation, scenario: Scenario, floor: float | FloatArray, objective: Objective
) -> tuple[FloatArray, FloatArray]:
    """Gate mass and seconds (N,) that `price` reaches: where the search for the best bound starts."""
    policy = Price(objective=objective)
    policy.reset(scenario, len(observation.layer))
    problem, decided = _problem(observation, scenario), policy.solve(observation, floor).decision.selection
    chosen = selection.by_expert(decided)
    mass = (problem.weights * chosen).sum(axis=(1, 2), dtype=np.float64)
    return mass, exact_latency(problem, chosen.sum(axis=2, dtype=np.float64))


def reward_bound(
    observation: Observation,
    scenario: Scenario,
    line: Frontier | None = None,
    reference: FloatArray | None = None,
    above: FloatArray | None = None,
) -> FloatArray:
    """Return a proven upper bound on a step's reward over all decisions, those below the mass floor included: (N,).

    It is the bound above the floor: below it no decision earns what plain top-K does, which keeps the floor.

    Args:
        observation: N cells.
        scenario: what is simulated.
        line: the frontier of these cells at `reward_grid(scenario)` or more, if it is known already.
        reference: (N,) block WLR of plain top-K that the reward is relative to, `Simulator.reference()`. By default
            what follows from the observation; required where devices are measured.
        above: (N,) `wlr_bound` of these cells, if it is known already.

    Raises:
        ValueError: the scenario rewards another ratio than block WLR, for which nothing is proved; or there is no
            reference, and the observation holds compute that is but a bound on the true one.
    """
    setting = scenario.reward
    if setting.metric != "wlr":
        raise ValueError(f"reward.metric is {setting.metric!r}: a bound on the reward is known for 'wlr' alone")
    problem, lowest = _problem(observation, scenario), setting.mass_floor - MASS_TOLERANCE
    if line is None:
        line = frontier(observation, scenario, [mass for mass in reward_grid(scenario) if mass >= lowest])
    # Each point stands on one side of the floor in all cells: crossings lie between two of the grid.
    kept = (line.mass >= lowest).all(axis=0)
    line = Frontier(line.mass[:, kept], line.latency[:, kept])
    ratio = _ratios(problem, line)
    if whole_matters(problem).any():
        above = wlr_bound(observation, scenario, line) if above is None else above
        ratio = np.minimum(ratio, above[:, None])
    if setting.normalize == "top-k":
        ratio = ratio / (plain_wlr(observation, scenario) if reference is None else reference)[:, None]
    # Between two points the ratio is monotone or convex: the most is at one of them.
    most = ratio.max(axis=1) * (1.0 + MASS_TOLERANCE)
    return np.log(most) if setting.scale == "log" else np.asarray(most)


def reward_grid(scenario: Scenario) -> list[float]:
    """Retained masses between which the frontier is taken; `reward_bound` uses those above the floor."""
    floor = scenario.reward.mass_floor
    masses = [*(floor * part for part in BELOW), floor - MASS_TOLERANCE, *_above(floor)]
    return [float(mass) for mass in np.unique(np.clip(masses, 0.0, 1.0))]


def plain_wlr(observation: Observation, scenario: Scenario) -> FloatArray:
    """Block WLR of plain top-K routing with equal shares of the band: (N,) 1/s.

    Raises:
        ValueError: the observation holds compute that is but a bound on the true one.
    """
    if observation.compute is not None:
        raise ValueError(
            "devices are measured, so that the observation does not tell how long plain top-K takes: take "
            "Simulator.reference() before the step, or mass and latency_top_k from its metrics, as the reference"
        )
    radio, compute = scenario.radio_link, scenario.compute_model
    cn0 = carrier_to_noise_density(observation.gain_dl, observation.gain_ul, radio)
    plain = plain_sums(observation, scenario.model.top_k)
    equal = allocation.uniform(scenario, len(observation.layer))
    computation = compute_time(plain.tokens, observation.load, compute)
    times = layer_times(compute.per_device(plain.tokens), computation, equal, cn0, radio)
    return metrics.wlr(plain.mass, times.latency)


def _above(floor: float) -> list[float]:
    return [floor + part * (1.0 - floor) for part in ABOVE]


def _ratios(problem: JointProblem, line: Frontier) -> FloatArray:
    """Most block WLR (N, P) at each point of a frontier and between it and the point before."""
    least = least_latency(problem)[:, None]
    before = np.concatenate([line.latency[:, :1], line.latency[:, :-1]], axis=1)
    latency = np.where(before < least, least, np.maximum(line.latency, least))
    return line.mass * problem.plain_mass[:, None] / latency


def _problem(observation: Observation, scenario: Scenario) -> JointProblem:
    """The joint problem, where what is proved of it holds of the simulator, too."""
    if not scenario.bounded:
        raise ValueError(UNBOUNDED)
    return joint_problem(observation, scenario)


def _checked(retained_mass: float | FloatArray) -> FloatArray:
    mass = np.asarray(retained_mass, dtype=np.float64)
    # Written so that NaN fails it too.
    if not ((mass >= 0.0) & (mass <= 1.0)).all():
        raise ValueError(f"retained_mass is {retained_mass!r}, expected 0 to 1")
    return mass
