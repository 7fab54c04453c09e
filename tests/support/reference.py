"""One step of the system model in plain Python, from the formulas alone: what the simulator is held against."""

import math
from typing import Any

from wdmoe_env import Scenario


def reference_step(
    scenario: Scenario, weights: Any, selection: Any, bandwidth: Any, gain_dl: Any, gain_ul: Any, load: Any
) -> dict[str, float]:
    """Metrics of one cell's layer, from (J, E) weights and selection, and (U,) bandwidth, true gains and load."""
    chosen = [[e for e, used in enumerate(row) if used] for row in selection]
    ranked = [
        sorted(range(len(row)), key=[-weight for weight in row].__getitem__)[: scenario.model.top_k] for row in weights
    ]
    even = [scenario.radio.bandwidth_hz / scenario.num_devices] * scenario.num_devices
    ours = _ratios(scenario, weights, chosen, bandwidth, gain_dl, gain_ul, load)
    plain = _ratios(scenario, weights, ranked, even, gain_dl, gain_ul, load)
    retained = ours.pop("mass") / plain["mass"]
    ratio = ours[scenario.reward.metric] / plain[scenario.reward.metric]
    reward = ratio - scenario.reward.penalty * max(0.0, scenario.reward.mass_floor - retained)
    return {**ours, "latency_top_k": plain["latency"], "retained_mass": retained, "reward": reward}


def _ratios(
    scenario: Scenario, weights: Any, chosen: list[list[int]], bandwidth: Any, gain_dl: Any, gain_ul: Any, load: Any
) -> dict[str, float]:
    host = [int(u) for u in scenario.hosts]
    times, counts = [], []
    for u in range(scenario.num_devices):
        per_expert = [sum(e in row for row in chosen) for e in range(scenario.model.experts) if host[e] == u]
        counts.append(sum(per_expert))
        sending = sum(per_expert) * _token_time(scenario, bandwidth[u], gain_dl[u], gain_ul[u])
        times.append(sending + sum(_expert_time(scenario, u, n) for n in per_expert) / (1.0 - load[u]))
    mass = [0.0] * scenario.num_devices
    token_ratio = 0.0
    for row, experts in zip(weights, chosen, strict=True):
        ratios = [row[e] / (times[host[e]] / counts[host[e]]) for e in experts]
        token_ratio += sum(ratios) / len(ratios) / len(chosen)
        for e in experts:
            mass[host[e]] += row[e]
    latency = max(times)
    return {
        "latency": latency,
        "mass": sum(mass),
        "wlr": sum(mass) / latency,
        "wlr_token": token_ratio,
        "wlr_device": sum(m / t for m, t in zip(mass, times, strict=True) if t > 0),
        "experts_per_token": sum(counts) / len(chosen),
        "bottleneck": times.index(latency),
    }


def _token_time(scenario: Scenario, band: float, gain_dl: float, gain_ul: float) -> float:
    """Both directions of one token: Shannon rates, at most `outage_s` each."""
    radio, bits = scenario.radio, 16.0 * scenario.model.hidden_size
    noise = 10.0 ** ((radio.noise_dbm_per_hz - 30.0) / 10.0)
    total = 0.0
    for power, gain in ((radio.bs_power_w, gain_dl), (radio.device_power_w, gain_ul)):
        rate = band * math.log2(1.0 + power * gain / (noise * band)) if band > 0 else 0.0
        total += min(bits / rate, radio.outage_s) if rate > 0 else radio.outage_s
    return total


def _expert_time(scenario: Scenario, device: int, tokens: int) -> float:
    """One expert on an idle device: linear, or a roofline."""
    model = scenario.model
    compute: Any = scenario.device_groups[device].compute
    flops = 6.0 * model.hidden_size * model.intermediate_size + 5.0 * model.intermediate_size
    if compute.kind == "linear":
        return tokens * flops / compute.flops_per_s
    if tokens == 0:
        return 0.0
    weight_bytes = 3 * model.hidden_size * model.intermediate_size * 2
    return compute.launch_s + weight_bytes / compute.memory_bandwidth + tokens * flops / compute.peak_flops
