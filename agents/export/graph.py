"""A trained policy as one ONNX graph from raw observations to prices and bandwidth logits."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import onnx
import torch
from torch import Tensor, nn

from agents.export.features import RawFeatures
from agents.export.raw import RawObservation, input_feed
from agents.plan.prices import price_action
from agents.policies.trained import TrainedPolicy
from agents.sb3.expert_networks import Hosting
from wdmoe_env.files.provenance import versions
from wdmoe_env.interface import Observation
from wdmoe_env.scenario import Scenario

OPSET: Final = 18
INPUTS: Final = {
    "gain_dl": "(N, U) float64: downlink channel power gains, linear, as the base station knows them",
    "gain_ul": "(N, U) float64: uplink channel power gains, linear",
    "average_gain_dl": "(N, U) float64: running geometric means of gain_dl; without effect where gains are exact",
    "average_gain_ul": "(N, U) float64: the same of gain_ul",
    "gate_weights": "(N, J, E) float32: router softmax over all experts; rows sum to 1",
    "load": "(N, U) float64: share of each device's compute that is taken, 0 to 0.95",
    "last_device_time": "(N, U) float64: seconds each device took in the step before; 0 where nothing was measured",
    "layer": "(N,) int64: index of the MoE layer that is decided, from 0",
}
PRICE: Final = {
    "device": "(N, U) float32: price of each device in units of gate weight, 0 to {highest:g}",
    "expert": "(N, E) float32: price of each expert in units of gate weight, 0 to {highest:g}",
}
"""What the first output holds, by a scenario's `prices`."""
OUTPUTS: Final = {
    "price": PRICE["device"],
    "logit": "(N, U) float32: natural logarithm of each device's weight in the split of the band",
}
SELECT: Final = (
    "Each token keeps its at most top_k experts of largest gate_weight - {price} where that is above 0, "
    "or else the one where it is largest. Where this keeps less than reward.mass_floor of plain top-K's gate mass, "
    "tokens go back to plain top-K until it is kept (wdmoe_env.system.floor.keep_floor)."
)
PRICE_OF: Final = {"device": "price[hosts[expert]]", "expert": "price[expert]"}
SPLIT: Final = {
    "optimal": "The band is split exactly (wdmoe_env.system.bandwidth.allocate).",
    "learned": "Devices with tokens share the band in proportion to exp(logit).",
    "residual": "The band is shared in proportion to exp(logit) times the exact split "
    "(wdmoe_env.system.bandwidth.allocate).",
}


class RawPolicy(nn.Module):
    """A `RawObservation`, field by field, to prices and, where the policy splits the band, logits: float32 arrays."""

    def __init__(self, policy: TrainedPolicy, scenario: Scenario) -> None:
        super().__init__()
        self.features, self.actions = RawFeatures(scenario), price_action(scenario)
        self.network: Any = policy.network
        # The host map is that of the scenario, not that of the cell which the network was built for.
        self.hosting = Hosting(scenario.hosts) if scenario.prices == "expert" else None
        self.outputs = list(OUTPUTS) if scenario.bandwidth != "optimal" else ["price"]

    def forward(self, *fields: Tensor) -> tuple[Tensor, ...]:
        table, hosting = self.features(RawObservation(*fields)), () if self.hosting is None else (self.hosting,)
        action = self.network.mean_action(table, *hosting).clamp(-1.0, 1.0)
        return self.actions.meaning(action)[: len(self.outputs)]


def to_onnx(policy: TrainedPolicy, scenario: Scenario, observation: Observation) -> onnx.ModelProto:
    """The graph of a policy that was reset for `scenario`, which is also where `observation` comes from."""
    module, names = RawPolicy(policy, scenario).eval(), list(RawObservation._fields)
    axes = {name: {0: "N"} for name in (*names, *module.outputs)}
    axes["gate_weights"] = {0: "N", 1: "J"}
    example = tuple(torch.tensor(value) for value in input_feed(observation).values())
    file: Any = io.BytesIO()
    with torch.no_grad(), _quiet():
        # The newer exporter, `dynamo`, takes many times as long and needs another package.
        torch.onnx.export(
            module,
            example,
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=module.outputs,
            dynamic_axes=axes,
        )
    model = onnx.load_from_string(file.getvalue())
    _restore_unused(model.graph, names)
    onnx.checker.check_model(model, full_check=True)
    onnx.helper.set_model_props(model, _metadata(policy.name, scenario, module.outputs))
    return model


def _restore_unused(graph: onnx.GraphProto, names: list[str]) -> None:
    """Make all names inputs again, in order: the exporter drops average gains where the policy does not use them."""
    inputs = {value.name: value for value in graph.input}
    del graph.input[:]
    for name in names:
        graph.input.append(inputs.get(name, inputs["gain_dl"]))
        graph.input[-1].name = name


def _metadata(name: str, scenario: Scenario, outputs: list[str]) -> dict[str, str]:
    """What the file tells of itself; everything but `policy` and `decision` is JSON."""
    meaning = {**OUTPUTS, "price": PRICE[scenario.prices].format(highest=scenario.price_max)}
    return {
        "policy": name,
        "scenario": scenario.model_dump_json(),
        "hosts": json.dumps(scenario.hosts.tolist()),
        "versions": json.dumps({**versions(), "onnx": onnx.__version__}),
        "inputs": json.dumps(INPUTS),
        "outputs": json.dumps({name: meaning[name] for name in outputs}),
        "decision": f"{SELECT.format(price=PRICE_OF[scenario.prices])} {SPLIT[scenario.bandwidth]}",
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks: what it makes is checked."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
