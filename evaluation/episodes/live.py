"""A testbed as the place where episodes are run: what was measured takes the place of what was simulated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from evaluation.episodes.errors import EvaluationError
from wdmoe_env import Scenario, Simulator
from wdmoe_env.arrays import FloatArray
from wdmoe_env.system.metrics import SCHEMA
from wdmoe_env.testbed.kernel import Links

if TYPE_CHECKING:
    from wdmoe_env.moe.in_the_loop import ModelInTheLoop
    from wdmoe_env.testbed.cell import LiveCell
    from wdmoe_env.testbed.records import Episode
    from wdmoe_env.testbed.station import Station

LIVE_METRICS: Final = ("predicted_ms", "prediction_error", "prediction_error_p95")
"""What an episode is judged by besides, on a testbed: the latency of a forward pass that the simulator predicts for the
very same decisions, and the median and the 95th percentile of the layers' |measured / predicted - 1|."""


@dataclass(frozen=True)
class Measured:
    """What was measured in an episode.

    Attributes:
        metrics: (steps, 1) of each metric in `wdmoe_env.system.metrics.SCHEMA`.
        episode: (1,) of each metric in `LIVE_METRICS`.
        device_times: (U,) seconds of each device, of each step.
    """

    metrics: Mapping[str, NDArray[Any]]
    episode: dict[str, FloatArray]
    device_times: list[FloatArray]


@dataclass
class Live:
    """A testbed that is connected, and what it recorded.

    Attributes:
        station: its devices.
        links, slow_down: how they are emulated.
        facts: which testbed this is, for the summary.
        episodes: what was recorded, in order.
    """

    station: Station
    links: Links
    slow_down: float
    facts: dict[str, Any]
    episodes: list[Episode] = field(default_factory=list)
    _runs: Counter[str] = field(default_factory=Counter)

    def begin(self, policy: str) -> None:
        """A run of a policy begins."""
        self._runs[policy] += 1

    def cell(self, scenario: Scenario, count: int, model: ModelInTheLoop) -> LiveCell:
        """The cell, for one episode at a time."""
        from wdmoe_env.testbed.cell import LiveCell

        assert count == 1, "a testbed is one cell"
        cell = LiveCell(scenario, self.station, model.routers.rule, self.links, self.slow_down)
        if self.links == "none":
            # Each episode begins with the same knowledge, whoever decides: a first look at the links.
            cell.estimates.see(self.station.warm_up(rounds=1))
        return cell

    def attached(self, model: ModelInTheLoop, cell: Simulator) -> AbstractContextManager[None]:
        """Let the cell's devices stand for the model's experts while the context is open."""
        from wdmoe_env.testbed.cell import LiveCell
        from wdmoe_env.testbed.split_model import attached

        assert isinstance(cell, LiveCell)
        return attached(model.model, cell.run)

    def take(self, cell: Simulator, policy: str, episode: int) -> Measured:
        """What was measured in an episode that has ended."""
        from wdmoe_env.testbed.cell import LiveCell
        from wdmoe_env.testbed.records import Episode

        assert isinstance(cell, LiveCell)
        records = cell.take_records()
        self.episodes.append(Episode(policy, self._runs[policy] - 1, episode, records))
        predicted = np.array([record.predicted for record in records])
        error = np.abs(np.array([record.measured for record in records]) / predicted - 1.0)
        of_episode = {
            "predicted_ms": predicted.sum() / cell.scenario.traffic.passes_per_episode * 1e3,
            "prediction_error": np.median(error),
            "prediction_error_p95": np.quantile(error, 0.95),
        }
        return Measured(
            {name: np.stack([record.metrics[name] for record in records]) for name in SCHEMA},
            {name: np.array([value]) for name, value in of_episode.items()},
            [record.measured_device for record in records],
        )


@contextmanager
def opened(spec: str, model: Path, scenario: Scenario, links: Links | None, slow_down: float) -> Iterator[Live]:
    """Connect to a testbed, and let local devices live as long as the context.

    Raises:
        EvaluationError: the testbed, the model and the scenario do not fit, or a device cannot be reached.
    """
    try:
        from wdmoe_env.testbed import cluster
    except ModuleNotFoundError as error:
        raise EvaluationError(f"--testbed needs {error.name}: pip install -e '.[train,llm,testbed]'") from error
    try:
        testbed = cluster.find_testbed(spec, links, slow_down)
    except ValueError as error:
        raise EvaluationError(str(error)) from error
    with ExitStack() as stack:
        try:
            station = stack.enter_context(cluster.opened(testbed, model, scenario))
        except (ValueError, RuntimeError, OSError) as error:
            raise EvaluationError(f"--testbed {spec}: {error}") from error
        yield Live(station, testbed.links, testbed.slow_down, testbed.facts())
