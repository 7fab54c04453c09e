"""The second half of a warm start: climb the exact gradient of the reward through the split of the band.

Given a selection and the channels as they truly are, the latency of a layer is a differentiable function of the band's
split, and so of the actor's bandwidth logits. In training cells that function is known: the mean reward can be raised
along its gradient, without the noise of exploration. What the actor sees is what it sees everywhere, so that it learns
the split that is best on average over all channels that a stale estimate may stand for. Its prices are held where they
are, since a selection has no gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from agents.warm_start.fitting import fit_actor
from wdmoe_env.allocation import allocate_for
from wdmoe_env.arrays import BoolArray, FloatArray
from wdmoe_env.envs.codecs import PriceAction, observation_codec
from wdmoe_env.scenario import Scenario
from wdmoe_env.simulator.simulator import Simulator
from wdmoe_env.system import selection
from wdmoe_env.system.latency import Radio, carrier_to_noise_density

CELLS: Final = 256
DEVICES: Final = 524_288
"""Devices that are learned from, over all cells and steps."""
UPDATES: Final = 1500
BATCH: Final = 8192
"""Devices in each update."""
LEARNING_RATE: Final = 2e-3
"""Adam's, at first; it falls in a straight line to 0."""
HELD_OUT: Final = 0.125
"""Share of the steps, the last ones, that only measure what was won."""
PROXIMAL_WEIGHT: Final = 10.0
"""Weight of how far price actions moved, mean square, against the reward."""
LEAST_HZ: Final = 1.0
"""Bandwidth that stands for none: devices without tokens have no share, and their time must not divide by 0."""

Show = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Layers:
    """What decides the reward of S layers, with the selection of the actor as it was.

    Attributes:
        table: (S, U, F) encoded observations.
        price: (S, U) price actions that the actor had.
        tokens: (S, U) tokens of each device.
        computing: (S, U) seconds that each device computes.
        base: (S, U) what the split is proportional to where all logits are 0, Hz.
        cn0: (S, U, 2) `latency.carrier_to_noise_density` of the true gains.
        scale: (S,) reward times latency, s.
    """

    table: Tensor
    price: Tensor
    tokens: Tensor
    computing: Tensor
    base: Tensor
    cn0: Tensor
    scale: Tensor

    def at(self, index: Tensor | slice) -> Layers:
        """Some of them."""
        return Layers(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Ascent:
    """Mean reward in steps that were not learned from."""

    before: float
    after: float


def applies(scenario: Scenario) -> bool:
    """Whether an actor splits the band, and by a reward that the split decides through the latency alone."""
    return scenario.bandwidth != "optimal" and scenario.reward.metric == "wlr"


def num_steps(scenario: Scenario) -> int:
    """Steps that `collect` takes."""
    return max(DEVICES // (CELLS * scenario.num_devices), 2)


def collect(policy: BasePolicy, scenario: Scenario, seed: int, show: Show = lambda _: None) -> Layers:
    """Let the actor decide in training cells, without exploring, and write down what its reward depends on."""
    simulator = Simulator(scenario, CELLS, "train")
    codec, actions = observation_codec("device", scenario), PriceAction(scenario)
    observation, found = simulator.reset(seed), []
    for step in range(num_steps(scenario)):
        table = np.asarray(codec.encode(observation))
        action, _ = policy.predict(table, deterministic=True)
        decision = actions.decode(action, observation)
        needs = _needs(simulator, decision.selection)
        outcome = simulator.step(decision)
        # No price action breaks the floor: the reward is a ratio of latencies, without a penalty.
        scale = outcome.reward * outcome.metrics["latency"]
        found.append((table, action[:, : scenario.num_devices], *needs, scale))
        observation = simulator.reset() if outcome.truncated.all() else outcome.observation
        show(step + 1)
    columns = (np.concatenate(column).astype(np.float32) for column in zip(*found, strict=True))
    return Layers(*map(torch.from_numpy, columns))


def _needs(simulator: Simulator, chosen: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Tokens, seconds of computing, base of the split and true C/N0 of a layer with a (N, J, E) selection."""
    scenario, gain = simulator.scenario, simulator.cell.gain
    per_expert = selection.tokens_per_expert(chosen)
    tokens = scenario.compute_model.per_device(per_expert)
    computing = simulator.compute_time(per_expert)
    exact = scenario.bandwidth == "residual"
    base = allocate_for(chosen, simulator.observation, scenario) if exact else (tokens > 0).astype(np.float64)
    cn0 = carrier_to_noise_density(gain[:, 0], gain[:, 1], scenario.radio_link)
    return tokens, computing, base, np.moveaxis(cn0, 0, -1)


def rewards(logits: Tensor, layers: Layers, radio: Radio) -> Tensor:
    """(S,) rewards that (S, U) bandwidth logits bring, as the simulator has them; differentiable by the logits."""
    share = torch.exp(logits) * layers.base
    band = (share * (radio.bandwidth_hz / share.sum(dim=-1, keepdim=True))).clamp(min=LEAST_HZ)[..., None]
    rates = (band * torch.log1p(layers.cn0 / band)).clamp(min=radio.outage_rate)
    sending = layers.tokens * (radio.payload_nats / rates).sum(dim=-1)
    return layers.scale / (sending + layers.computing).amax(dim=-1)


def ascend(policy: Any, layers: Layers, scenario: Scenario, seed: int, show: Show = lambda _: None) -> Ascent:
    """Raise the mean reward of all but the last layers by the actor's logits, and measure on the last ones."""
    count, devices = round(len(layers.scale) * (1.0 - HELD_OUT)), scenario.num_devices
    codec, held_out = PriceAction(scenario), layers.at(slice(count, None))

    def loss(some: Layers) -> tuple[Tensor, Tensor]:
        action = policy.mean_action(some.table)
        logits = codec.meaning(action.clamp(-1.0, 1.0))[1]
        moved = (action[:, :devices] - some.price).square().mean()
        return -rewards(logits, some, scenario.radio_link).mean(), moved

    with torch.no_grad():
        before = -float(loss(held_out)[0])
    generator, batch = torch.Generator().manual_seed(seed), max(BATCH // devices, 1)

    def draw() -> Tensor:
        negative, moved = loss(layers.at(torch.randint(count, (batch,), generator=generator)))
        return negative + PROXIMAL_WEIGHT * moved

    fit_actor(policy, draw, UPDATES, LEARNING_RATE, show)
    with torch.no_grad():
        return Ascent(before, -float(loss(held_out)[0]))
