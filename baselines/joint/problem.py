"""The joint problem of one layer: which experts each token uses and how the band is split, for N cells at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from baselines.joint.capacity import Links
from wdmoe_env.arrays import BoolArray, FloatArray, GateArray
from wdmoe_env.interface import Observation, plain_routing
from wdmoe_env.scenario import Scenario
from wdmoe_env.system import selection
from wdmoe_env.system.compute import ComputeModel
from wdmoe_env.system.latency import carrier_to_noise_density
from wdmoe_env.system.selection import Candidates

BANNED = -4.0
"""Stands for the gate weight of an expert that a token may not use: below any weight less any price."""
FEW = 16
"""Tokens of a device, at K experts a token, below which their being whole matters."""
APART = 50.0
"""Times longer that a token takes on one device than on another which make the first as good as out of reach."""


@dataclass(frozen=True, slots=True)
class JointProblem:
    """What the optimum of a layer depends on.

    Attributes:
        weights: (N, E, J) gate weights, and `BANNED` where an expert is no candidate for a token.
        top_k: K, most experts a token may use.
        plain_mass: (N,) gate mass of plain top-K routing: what retained mass is measured against.
        links: how many tokens a second each device can take for its share of the band.
        fixed_s: (N, U) seconds that each used expert costs its device, whatever its tokens.
        compute: which device hosts which expert.
    """

    weights: GateArray
    top_k: int
    plain_mass: FloatArray
    links: Links
    fixed_s: FloatArray
    compute: ComputeModel


def joint_problem(observation: Observation, scenario: Scenario, candidates: Candidates = "all") -> JointProblem:
    """Read the problem off an observation.

    Args:
        observation: what is known of the cells; the optimum is that of the channels, loads and true compute in it.
        scenario: what is simulated.
        candidates: `all`: tokens may be re-routed. `top-k`: experts may only be dropped from plain top-K routing.
    """
    k, radio = scenario.model.top_k, scenario.radio_link
    compute = scenario.compute_model if observation.compute is None else observation.compute
    weights = selection.by_expert(observation.gate_weights)
    plain = selection.by_expert(plain_routing(observation, k))
    speed = 1.0 - observation.load
    cn0 = carrier_to_noise_density(observation.gain_dl, observation.gain_ul, radio)
    return JointProblem(
        weights=weights if candidates == "all" else np.where(plain, weights, weights.dtype.type(BANNED)),
        top_k=k,
        plain_mass=(weights * plain).sum(axis=(1, 2), dtype=np.float64),
        links=Links(cn0, compute.token_s / speed, radio),
        fixed_s=compute.fixed_s / speed,
        compute=compute,
    )


def net_weights(problem: JointProblem, price: FloatArray, kind: type[np.floating[Any]] = np.float64) -> GateArray:
    """Gate weights less the (N, U) prices of the experts' devices, in the precision of `kind`: (N, E, J)."""
    return problem.weights.astype(kind, copy=False) - problem.compute.per_expert(price)[:, :, None].astype(kind)


def least_latency(problem: JointProblem) -> FloatArray:
    """Seconds (N,) that any layer takes: those of one token on the best device, with the whole band for itself."""
    whole = np.full_like(problem.fixed_s, problem.links.band)
    return (1.0 / problem.links.token_rate(whole).rate + problem.fixed_s).min(axis=-1)


def few_tokens(problem: JointProblem) -> bool:
    """Whether whole tokens and whole experts matter, so that one price a device does not settle the decision.

    That is where a device has few tokens, or an expert that is used costs its device time and has others beside it.
    """
    tokens, devices = problem.weights.shape[2] * problem.top_k, problem.fixed_s.shape[1]
    return tokens < FEW * devices or (problem.compute.has_fixed and not problem.compute.one_to_one)


def whole_matters(problem: JointProblem) -> BoolArray:
    """Cells (N,) in which whole tokens and whole experts matter: few tokens, or a device (almost) out of reach.

    Such a device takes few of the tokens, if any, and a layer waits for each of them.
    """
    if few_tokens(problem):
        return np.ones(len(problem.plain_mass), dtype=np.bool_)
    rate = problem.links.token_rate(np.full_like(problem.fixed_s, problem.links.band)).rate
    return np.asarray(rate.max(axis=-1) > APART * rate.min(axis=-1))


def least_fixed(problem: JointProblem, mass: FloatArray) -> FloatArray:
    """Fixed seconds (N, U) of a device with tokens, in every selection of at least a (N,) gate mass.

    Those of one expert, or of all its experts that no selection of that mass can do without.
    """
    if problem.compute.one_to_one or not problem.compute.has_fixed:
        return problem.fixed_s
    k, weights = problem.top_k, problem.weights.astype(np.float64)
    # Without an expert, its tokens can at best take the one that plain routing leaves out, of rank K + 1.
    spare = -np.sort(-weights, axis=1)[:, k : k + 1] if weights.shape[1] > k else np.zeros_like(weights[:, :1])
    lost = np.maximum(weights - np.maximum(spare, 0.0), 0.0).sum(axis=2)
    needed = (problem.plain_mass[:, None] - lost < mass[:, None] * (1.0 - 1e-9)).astype(np.float64)
    return problem.fixed_s * np.maximum(problem.compute.per_device(needed), 1.0)
