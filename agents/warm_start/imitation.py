"""Warm start: before it learns, the actor imitates what the baseline `price` finds in training cells.

The baseline is shown the cells as they truly are, the actor what a policy sees of them: so it learns what is best on
average where channel state is stale. In evaluation it sees no more than any other policy. Where the actor splits the
band, `split_ascent` follows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import torch
from rich.console import Console
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from agents.plan.plan import Plan
from agents.plan.prices import price_action, priced_observation
from agents.warm_start import split_ascent
from agents.warm_start.fitting import fit_actor
from baselines.price import Price, Solution
from wdmoe_env.allocation import allocate_for
from wdmoe_env.arrays import BoolArray, FloatArray
from wdmoe_env.console.progress import ProgressBar
from wdmoe_env.console.stop import Stop
from wdmoe_env.envs.codecs import LOGIT_SCALE
from wdmoe_env.envs.encoding import split_logits
from wdmoe_env.interface import Observation, plain_routing
from wdmoe_env.scenario import Scenario
from wdmoe_env.simulator.simulator import Simulator
from wdmoe_env.system import selection

CELLS: Final = 64
"""Cells that are solved side by side: a step of one cell alone takes many times as long."""
DEVICES: Final = 262_144
"""Prices that are imitated, all steps together: a step of a larger cell takes longer, and shows more of them."""
MARKUP: Final = 1.1
"""Imitated prices over those found: imitation errs to both sides, and the floor mends prices that are too high."""
BELOW: Final = 0.99
"""Imitated price of an expert, at most, over the least gate weight that it keeps: just below, so that it is kept."""
HELD_OUT: Final = 0.125
"""Share of the steps, the last ones, that only measure the error."""
BATCH: Final = 8192
"""Prices in each update."""
UPDATES: Final = 2000
LEARNING_RATE: Final = 3e-3
"""Adam's, at first; it falls in a straight line to 0."""

Show = Callable[[int], None]


class StoppedError(Exception):
    """The warm start was asked to stop."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What is imitated.

    Attributes:
        observations: (S, U, F) or (S, E, F), encoded as the agent sees them.
        actions: (S, A).
        matters: (S, A) 1 where a value of the action matters, else 0.
    """

    observations: Tensor
    actions: Tensor
    matters: Tensor

    def at(self, index: Tensor | slice) -> Samples:
        """Some of them."""
        return Samples(self.observations[index], self.actions[index], self.matters[index])


@dataclass(frozen=True, slots=True)
class Imitation:
    """How near the actor came to what it imitates, in steps that were not learned from.

    Attributes:
        before, after: root mean square difference from the actions to imitate.
        ascent: what the split of the band won after that; None where the actor does not split it.
    """

    before: float
    after: float
    ascent: split_ascent.Ascent | None = None

    def figures(self) -> dict[str, float]:
        """All figures by name."""
        error = {"error_before": self.before, "error": self.after}
        gained = self.ascent
        return error if gained is None else {**error, "split_before": gained.before, "split_after": gained.after}


def warm_start(policy: BasePolicy, plan: Plan, console: Console, stop: Stop) -> Imitation | None:
    """Let the actor's mean imitate `price` in training cells; None, and nothing changed, if asked to stop meanwhile.

    Draws from generators of its own, which the plan's seed determines: what is drawn later does not depend on it.
    """
    before = copy.deepcopy(policy.state_dict())
    rows, _ = priced_observation(plan.scenario).space.shape or ()
    steps = max(DEVICES // (CELLS * rows), 2)

    def checked(bar: ProgressBar) -> Show:
        def show(done: int) -> None:
            bar.show(done, "")
            if stop.reason is not None:
                raise StoppedError

        return show

    try:
        with ProgressBar(console, "warm start: solving", steps) as bar:
            samples = collect(plan.scenario, plan.seed, steps, checked(bar))
        with ProgressBar(console, "warm start: imitating", UPDATES) as bar:
            found = imitate(policy, samples, plan.seed, checked(bar))
        return replace(found, ascent=_climb(policy, plan, console, checked))
    except StoppedError:
        policy.load_state_dict(before)
        return None


def _climb(
    policy: BasePolicy, plan: Plan, console: Console, checked: Callable[[ProgressBar], Show]
) -> split_ascent.Ascent | None:
    """Raise the reward by the split of the band, where the actor splits it."""
    if not split_ascent.applies(plan.scenario):
        return None
    with ProgressBar(console, "warm start: watching", split_ascent.num_steps(plan.scenario)) as bar:
        layers = split_ascent.collect(policy, plan.scenario, plan.seed, checked(bar))
    with ProgressBar(console, "warm start: splitting the band", split_ascent.UPDATES) as bar:
        return split_ascent.ascend(policy, layers, plan.scenario, plan.seed, checked(bar))


def collect(scenario: Scenario, seed: int, steps: int, show: Show = lambda _: None) -> Samples:
    """Let `price` decide in training cells, and write down its prices, in the order of time."""
    simulator, teacher = Simulator(scenario, CELLS, "train"), Price()
    codec = priced_observation(scenario)
    teacher.reset(scenario, CELLS)
    observation, found = simulator.reset(seed), []
    for step in range(steps):
        solution = teacher.solve(simulator.true_observation())
        arrays = codec.encode(observation), *_target(solution, observation, scenario)
        found.append([torch.from_numpy(np.asarray(array, dtype=np.float32)) for array in arrays])
        outcome = simulator.step(solution.decision)
        observation = simulator.reset() if outcome.truncated.all() else outcome.observation
        show(step + 1)
    return Samples(*(torch.cat(column) for column in zip(*found, strict=True)))


def imitate(policy: BasePolicy, samples: Samples, seed: int, show: Show = lambda _: None) -> Imitation:
    """Fit the actor's mean to all but the last samples, and measure on those."""
    count = round(len(samples.actions) * (1.0 - HELD_OUT))
    held_out, batch = samples.at(slice(count, None)), max(BATCH // samples.observations.shape[1], 1)
    policy.set_training_mode(True)
    with torch.no_grad():
        before = _error(policy, held_out)
    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.randint, count, (batch,), generator=generator)
    fit_actor(policy, lambda: _error(policy, samples.at(draw())), UPDATES, LEARNING_RATE, show)
    with torch.no_grad():
        return Imitation(float(before) ** 0.5, float(_error(policy, held_out)) ** 0.5)


def _error(policy: BasePolicy, samples: Samples) -> Tensor:
    """Mean square difference of the actor's mean from the actions, where they matter."""
    mean = policy._predict(samples.observations, deterministic=True)
    return ((mean - samples.actions).square() * samples.matters).sum() / samples.matters.sum().clamp(min=1.0)


def _target(solution: Solution, observation: Observation, scenario: Scenario) -> tuple[FloatArray, BoolArray]:
    """The (N, A) action that comes closest to what was found, and where it matters.

    Prices matter where tokens may be; logits, of which only differences count, for devices with a band.
    """
    decision, compute = solution.decision, scenario.compute_model
    tokens = selection.tokens_per_expert(decision.selection | plain_routing(observation, scenario.model.top_k))
    price = MARKUP * solution.price
    if scenario.prices == "expert":
        price, matters = _expert_price(price, observation, decision.selection, scenario), tokens > 0
    else:
        matters = compute.per_device(tokens) > 0
    action = price_action(scenario).encode(price).astype(np.float64)
    if scenario.bandwidth == "optimal":
        return action, matters
    residual, used = scenario.bandwidth == "residual", decision.bandwidth > 0.0
    base = allocate_for(decision.selection, observation, scenario) if residual else None
    logits = split_logits(decision.bandwidth, base)
    logits = np.clip(logits if residual else logits / LOGIT_SCALE, -1.0, 1.0)
    return np.concatenate([action, logits], axis=1), np.concatenate([matters, used], axis=1)


def _expert_price(price: FloatArray, observation: Observation, chosen: BoolArray, scenario: Scenario) -> FloatArray:
    """(N, E) prices that bring about a (N, J, E) selection: those of devices, no higher than what an expert keeps.

    Experts without a token have the highest price: that of their device may not keep all tokens away from them.
    """
    least = np.where(chosen, observation.gate_weights, np.inf).min(axis=1)
    kept = np.minimum(scenario.compute_model.per_expert(price), BELOW * least)
    return np.where(np.isinf(least), scenario.price_max, kept)
