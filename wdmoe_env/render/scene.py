"""Scene: what a picture shows, taken from the simulator before and after a step. No drawing here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wdmoe_env.arrays import BoolArray, FloatArray, GateArray
from wdmoe_env.interface import Decision, Outcome, plain_routing
from wdmoe_env.scenario import Scenario
from wdmoe_env.simulator.simulator import Simulator


@dataclass(frozen=True, slots=True)
class Step:
    """What was decided, and what came of it.

    Attributes:
        selection: (J, E) bool.
        bandwidth: (U,) Hz.
        communication, computation: (U,) seconds; together they are the device's time.
        metrics: one number for each name of `wdmoe_env.system.metrics.SCHEMA`.
    """

    selection: BoolArray
    bandwidth: FloatArray
    communication: FloatArray
    computation: FloatArray
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scene:
    """One cell before a layer, and the step that ran the layer, if there was one.

    Attributes:
        scenario: what is simulated.
        layer, forward_pass: indices, from 0.
        position: (U,) complex, m; the base station is at 0.
        load: (U,) share of compute that is taken.
        gate_weights: (J, E).
        routed: (J, E) bool, plain top-K routing.
        expert_s: (J + 1, E) seconds that an expert takes for 0 to J tokens in this layer, on an idle device.
        index: which environment of the simulator this is.
        step: None before the decision.
    """

    scenario: Scenario
    layer: int
    forward_pass: int
    position: NDArray[np.complex128]
    load: FloatArray
    gate_weights: GateArray
    routed: BoolArray
    expert_s: FloatArray
    index: int = 0
    step: Step | None = None

    @classmethod
    def now(cls, simulator: Simulator, index: int = 0) -> Scene:
        """Copy what an environment of a simulator looks like before its next step."""
        seen, scenario = simulator.observation, simulator.scenario
        routed = plain_routing(seen, scenario.model.top_k)
        return cls(
            scenario=scenario,
            layer=int(seen.layer[index]),
            forward_pass=simulator.steps // scenario.model.layers,
            position=np.array(simulator.cell.position[index]),
            load=np.array(simulator.cell.load[index]),
            gate_weights=seen.gate_weights[index],
            routed=routed[index],
            expert_s=simulator.expert_table()[:, index],
            index=index,
        )

    def after(self, decision: Decision, outcome: Outcome) -> Scene:
        """Return the scene with the step that was taken in it."""
        index = self.index
        tokens = decision.selection[index].sum(axis=0)
        seconds = self.expert_s[tokens, np.arange(len(tokens))]
        computation = self.scenario.compute_model.per_device(seconds[None])[0] / (1.0 - self.load)
        times = outcome.observation.last_device_time[index]
        step = Step(
            selection=np.array(decision.selection[index]),
            bandwidth=np.array(decision.bandwidth[index]),
            communication=np.maximum(times - computation, 0.0),
            computation=computation,
            metrics={name: values[index].item() for name, values in outcome.metrics.items()},
        )
        return replace(self, step=step)
