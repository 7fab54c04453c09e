"""What a step is measured by."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from wdmoe_env.scenario import Scenario
from wdmoe_env.system import metrics
from wdmoe_env.system.layer import LayerTimes, weight_to_latency
from wdmoe_env.system.selection import Routing

Layer = tuple[Routing, LayerTimes]


def step_metrics(decided: Layer, plain: Layer, scenario: Scenario) -> dict[str, NDArray[Any]]:
    """(N,) values of `metrics.SCHEMA`, from a layer as decided and by plain top-K routing with equal shares."""
    (routing, times), (plain_routing, plain_times) = decided, plain
    setting, tokens, compute = scenario.reward, scenario.traffic.tokens, scenario.compute_model
    ratios = {
        name: weight_to_latency(name, routing, times, compute, tokens) for name in ("wlr", "wlr_token", "wlr_device")
    }
    plain_ratio = weight_to_latency(setting.metric, plain_routing, plain_times, compute, tokens)
    reference = plain_ratio if setting.normalize == "top-k" else 1.0
    retained = metrics.retained_mass(routing.mass, plain_routing.mass.sum(axis=-1))
    return {
        "latency": times.latency,
        "latency_top_k": plain_times.latency,
        **ratios,
        "retained_mass": retained,
        "experts_per_token": routing.tokens.sum(axis=-1) / tokens,
        "reward": metrics.reward(
            ratios[setting.metric],
            reference,
            retained,
            setting.mass_floor,
            setting.penalty,
            plain_ratio,
            setting.scale,
        ),
        "bottleneck": metrics.bottleneck(times.device),
    }
