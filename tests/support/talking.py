"""A talk with a unit in a pool, from its first word to its end."""

from __future__ import annotations

from wdmoe_env.workers.units import Pool, Unit


def talk(pool: Pool, unit: Unit) -> list[tuple[str, object]]:
    """Start a unit, double what it asks for, ask it to stop, and return what it said."""
    pool.start(unit)
    heard = list[tuple[str, object]]()
    while not heard or heard[-1][0] != "done":
        for event in pool.events(5.0):
            heard.append((event.kind, event.value))
            if event.kind == "asked":
                pool.answer(event.unit, 2 * event.value)
                pool.stop("SIGTERM")
    return heard
