"""Policies that think instead of learn, all of them `wdmoe_env.Policy`.

>>> import baselines, wdmoe_env
>>> scenario = wdmoe_env.load_scenario("paper", gating={"bank_passes": 1})
>>> policy = baselines.make("wdmoe", theta_start=0.6)
>>> policy.reset(scenario, num_envs=2)
>>> decision = policy.decide(wdmoe_env.Simulator(scenario, num_envs=2).reset(seed=0))
>>> decision.selection.shape, decision.bandwidth.shape
((2, 64, 8), (2, 8))
"""

from __future__ import annotations

import inspect
from typing import Any, Final

from baselines.dynamic_skipping import DynamicSkipping
from baselines.policy import Baseline
from baselines.price import Price
from baselines.random import Random
from baselines.top_k import TopK, TopKBandwidth
from baselines.wdmoe import WDMoE
from baselines.wdmoe_testbed import WDMoETestbed
from wdmoe_env.policy import Policy

BASELINES: Final[dict[str, type[Baseline]]] = {
    policy.name: policy for policy in (TopK, TopKBandwidth, WDMoE, WDMoETestbed, DynamicSkipping, Price, Random)
}
"""Every baseline by the name that `make` knows it by."""


def make(name: str, **options: Any) -> Policy:
    """Return the baseline called `name`; call its `reset` before its `decide`.

    Raises:
        ValueError: the name or an option is unknown, or an option's value is out of its range.
    """
    if name not in BASELINES:
        raise ValueError(f"unknown baseline {name!r}, expected one of {', '.join(BASELINES)}")
    known = list(inspect.signature(BASELINES[name]).parameters)
    for option in options:
        if option not in known:
            raise ValueError(f"unknown option {option!r} of baseline {name!r}, {_listed(known)}")
    return BASELINES[name](**options)


def _listed(options: list[str]) -> str:
    return f"expected one of {', '.join(options)}" if options else "which has no options"


__all__ = ["BASELINES", "make"]
