"""Policies that think instead of learn, all of them `wdmoe_env.Policy`.

>>> import baselines
>>> import wdmoe_env
>>> scenario = wdmoe_env.load_scenario("paper", gating={"bank_passes": 1})
>>> policy = baselines.make("wdmoe", theta_start=0.6)
>>> policy.reset(scenario, num_envs=2)
>>> decision = policy.decide(wdmoe_env.Simulator(scenario, num_envs=2).reset(seed=0))
>>> decision.selection.shape, decision.bandwidth.shape
((2, 64, 8), (2, 8))
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

from baselines.constant_price import ConstantPrice
from baselines.dynamic_skipping import DynamicSkipping
from baselines.price import Price
from baselines.random import Random
from baselines.top_k import TopK, TopKBandwidth
from baselines.wdmoe import WDMoE, WDMoEReconstructed
from baselines.wdmoe_testbed import WDMoETestbed
from wdmoe_env.policy import Policy
from wdmoe_env.registry import Registry

MakePolicy = TypeVar("MakePolicy", bound=Callable[..., Policy])
BASELINES: Final = Registry[Callable[..., Policy]]("baseline")
"""Every baseline by the name that `make` knows it by."""


def register(policy: MakePolicy, name: str | None = None) -> MakePolicy:
    """Let `make`, `evaluate.py` and the benchmarks find a policy by its name; use it on a class as a decorator.

    Args:
        policy: a class, or whatever makes a policy; its arguments are the options of `make`.
        name: by default the class's own, `policy.name`.

    Raises:
        ValueError: the name is taken, or there is none.
    """
    BASELINES.register(getattr(policy, "name", "") if name is None else name, policy)
    return policy


for _policy in (
    TopK,
    TopKBandwidth,
    WDMoE,
    WDMoEReconstructed,
    WDMoETestbed,
    DynamicSkipping,
    ConstantPrice,
    Price,
    Random,
):
    register(_policy)


def make(name: str, **options: Any) -> Policy:
    """Return the baseline called `name`; call its `reset` before its `decide`.

    Raises:
        ValueError: the name or an option is unknown, or an option's value is out of its range.
    """
    policy = BASELINES.find(name)
    known = list(inspect.signature(policy).parameters)
    for option in options:
        if option not in known:
            raise ValueError(f"unknown option {option!r} of baseline {name!r}, {_listed(known)}")
    return policy(**options)


def _listed(options: list[str]) -> str:
    return f"expected one of {', '.join(options)}" if options else "which has no options"


__all__ = ["BASELINES", "make", "register"]
