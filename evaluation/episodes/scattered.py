"""Chunks of held-out episodes as units of work: every policy's chunks side by side, the same figures as one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from evaluation.episodes.contenders import Contender
from evaluation.episodes.errors import EvaluationError
from evaluation.episodes.plan import Plan
from evaluation.episodes.runner import Chunk, run_chunk
from wdmoe_env import Policy, Scenario
from wdmoe_env.workers.carried import CarriedScenario, carried
from wdmoe_env.workers.units import Pool, PoolError, Shared, Unit, UnitError, results

Key = tuple[str, str, int]
Task = tuple[Contender, Plan]


def key_of(contender: Contender, number: int) -> Key:
    """What the chunks of one of a contender's policies are found by."""
    return contender.name, contender.source, number


def run_chunks(
    scenario: Scenario, tasks: Sequence[Task], pool: Pool, tick: Callable[[str], None] | None = None
) -> dict[Key, list[Chunk]]:
    """Run all chunks of all policies in a pool.

    Args:
        scenario: what is simulated.
        tasks: who decides, in which episodes.
        pool: where.
        tick: called with the contender's name for each of its decisions, when their chunk is done.

    Raises:
        EvaluationError: a decision is invalid or a metric is not finite, a unit failed, or the pool is lost.
    """
    units = dict(_units(scenario, tasks, pool))
    owners = {unit.name: key for key, made in units.items() for unit in made}

    def done(unit: str) -> None:
        for _ in range(scenario.steps_per_episode if tick else 0):
            tick(owners[unit][0])  # type: ignore[misc]

    try:
        found = results(pool, [unit for made in units.values() for unit in made], (EvaluationError,), done)
    except (PoolError, UnitError) as error:
        raise EvaluationError(str(error)) from error
    return {key: [found[unit.name] for unit in made] for key, made in units.items()}


def _units(scenario: Scenario, tasks: Sequence[Task], pool: Pool) -> Iterator[tuple[Key, list[Unit]]]:
    packed = pool.share(carried(scenario, pool.near))
    for contender, plan in tasks:
        for number, policy in enumerate(contender.policies):
            key, decides = key_of(contender, number), pool.share(policy)
            count = sum(1 for _ in plan.chunks(scenario))
            yield key, [_unit(scenario.name, key, (decides, packed, plan, index)) for index in range(count)]


def _unit(scenario: str, key: Key, arguments: tuple[Shared, Shared, Plan, int]) -> Unit:
    name, source, number = key
    called = f"scenario {scenario!r}, policy {name!r} ({source}), run {number}, chunk {arguments[-1]}"
    return Unit(called, _chunk, (*arguments, name))


def _chunk(policy: Policy, packed: CarriedScenario, plan: Plan, index: int, name: str) -> Chunk:
    """A chunk, as a plain function of what travels."""
    return run_chunk(policy, packed.opened(), plan, index, name)
