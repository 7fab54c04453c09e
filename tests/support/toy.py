"""Small scenarios for tests, and random valid decisions in them."""

from typing import Any

import numpy as np

from wdmoe_env import Decision, Scenario, Simulator, load_scenario

LINEAR = {"kind": "linear", "flops_per_s": 1e12}
ROOFLINE = {"kind": "roofline", "peak_flops": 5e12, "memory_bandwidth": 1e11, "launch_s": 1e-4}
SMALL: dict[str, dict[str, Any]] = {
    "paper": {"gating": {"bank_passes": 4}},
    "jetson": {"gating": {"bank_passes": 4}},
    "jetson-wifi": {"gating": {"bank_passes": 4}},
    "mobile": {"gating": {"bank_passes": 4}},
    "cell-64": {"gating": {"bank_passes": 1}},
    "tiny-moe": {"gating": {"bank_passes": 4}},
    "decode": {"gating": {"bank_passes": 16}},
    "many-experts": {"gating": {"bank_passes": 4}},
}
"""Overrides that make the presets quick to draw; nothing that they simulate changes."""


def preset(name: str, **overrides: Any) -> Scenario:
    """Return a preset with a small bank of gate weights."""
    return load_scenario(load_scenario(name, **SMALL[name]), **overrides)


def toy(
    num_devices: int = 3, experts: int = 5, top_k: int = 2, tokens: int = 6, layers: int = 2, **overrides: Any
) -> Scenario:
    """Return a tiny cell whose devices host several experts; device 0 is a roofline one."""
    groups: list[dict[str, Any]] = [{"name": "roof", "compute": ROOFLINE}]
    if num_devices > 1:
        groups.append({"name": "plain", "count": num_devices - 1, "compute": LINEAR})
    data = {
        "name": "toy",
        "model": {"layers": layers, "hidden_size": 64, "intermediate_size": 128, "experts": experts, "top_k": top_k},
        "devices": groups,
        "load": {"mean": 0.3, "std": 0.2},
        "traffic": {"tokens": tokens},
        "gating": {"family": "uniform", "bank_passes": 3},
    }
    return load_scenario(load_scenario("paper", **data), **overrides)


def random_decision(scenario: Scenario, num_envs: int, rng: np.random.Generator) -> Decision:
    """Draw a valid decision: 1 to K experts for each token, any split of at most the band."""
    shape = num_envs, scenario.traffic.tokens, scenario.model.experts
    rank = rng.random(shape).argsort(axis=-1).argsort(axis=-1)
    wanted = rng.integers(1, scenario.model.top_k, endpoint=True, size=(*shape[:2], 1))
    split = rng.dirichlet(np.ones(scenario.num_devices), size=num_envs)
    split *= rng.choice([0.0, 1.0], size=split.shape, p=[0.1, 0.9])
    return Decision(rank < wanted, split * scenario.radio.bandwidth_hz)


def same_rng(one: Simulator, other: Simulator) -> bool:
    """Whether both will draw the same random numbers."""
    return one.state().rng.bit_generator.state == other.state().rng.bit_generator.state
