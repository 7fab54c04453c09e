"""What is fuzzed, each kind with a function that tries one case: `benchmarks/fuzz.py` runs and counts them.

A target returns whether the input was taken; it raises `WrongError` where what came of an input that was taken is
wrong, and lets the project's own errors through.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

import baselines
from wdmoe_env import Decision, Scenario, Simulator, load_scenario, preset_names
from wdmoe_env.envs.codecs import action_codec, observation_codec

Target = Callable[[np.random.Generator, Path], bool]
ROOFLINE: Final = {"kind": "roofline", "peak_flops": 5e12, "memory_bandwidth": 1e11, "launch_s": 1e-4}
ODD: Final = (0.0, -0.0, 1.0, -1.0, 1e-320, 1e308, -1e308, np.inf, -np.inf, np.nan, 2.0**53, 5e-324)
CHARACTERS: Final = ",:;-{}[]&*!|> \t\n#'\"%ax.\0"
WORDS: Final[tuple[Any, ...]] = (
    None,
    "",
    "x",
    "nan",
    True,
    False,
    [],
    {},
    [1],
    {"a": 1},
    1e400,
    -1,
    0,
    10**30,
    10**400,
)


class WrongError(Exception):
    """An input was taken, and what came of it is wrong."""


def check(fine: Any, what: str) -> None:
    """Raise a WrongError that says what is wrong, unless all is fine."""
    if not np.all(fine):
        raise WrongError(what)


@cache
def cell(devices: int = 3, experts: int = 5, **overrides: Any) -> Scenario:
    """A tiny cell, one of whose devices is a roofline."""
    groups: list[dict[str, Any]] = [{"name": "roof", "compute": ROOFLINE}]
    groups.append({"name": "plain", "count": devices - 1, "compute": {"kind": "linear", "flops_per_s": 1e12}})
    return load_scenario(
        "paper", name="fuzz", devices=groups, traffic={"tokens": 4}, gating={"family": "uniform", "bank_passes": 3},
        model={"layers": 2, "hidden_size": 64, "intermediate_size": 128, "experts": experts, "top_k": 2}, **overrides,
    )  # fmt: skip


def decisions(rng: np.random.Generator, folder: Path) -> bool:
    """Decisions of every type, form and value, in a step of the simulator."""
    scenario = cell(int(rng.integers(2, 6)))
    simulator = Simulator(scenario, 2)
    observation = simulator.reset(int(rng.integers(100)))
    selection: Any = np.asarray(observation.routed).copy()
    if rng.random() < 0.5:
        selection &= rng.random(selection.shape) < 0.9
    band: Any = rng.dirichlet(np.ones(scenario.num_devices), size=2) * scenario.radio.bandwidth_hz
    band *= rng.choice([1.0, 0.5, 1.0 + 1e-12, 1.1])
    for _ in range(int(rng.choice([0, 0, 1, 2]))):
        band.flat[rng.integers(band.size)] = rng.choice(ODD)
    outcome = simulator.step(Decision(disguised(selection, rng), disguised(band, rng)))
    for name, values in outcome.metrics.items():
        check(type(values) is np.ndarray, f"metric {name} is a {type(values).__name__}")
        check(np.isfinite(values), f"metric {name} is {values}")
    check(outcome.metrics["latency"] > 0.0, "latency is not above 0")
    check(np.isfinite(outcome.reward), f"reward is {outcome.reward}")
    return True


def disguised(values: Any, rng: np.random.Generator) -> Any:
    """An array as something else that somebody may pass."""
    import torch

    ways: list[Callable[[Any], Any]] = [
        *[lambda v: v] * 40,
        lambda v: v.astype(np.float32), lambda v: v.astype(np.float16), lambda v: v.astype(np.int64),
        lambda v: v.astype(object), lambda v: v.astype(str), lambda v: v.astype(complex), lambda v: v.tolist(),
        lambda v: np.ma.masked_array(v, rng.random(v.shape) < 0.3), lambda v: torch.as_tensor(v),
        lambda v: torch.as_tensor(v).to(torch.bfloat16), lambda v: torch.as_tensor(v).float().requires_grad_(),
        lambda v: v[:1], lambda v: v[..., :-1], lambda v: v.ravel(), lambda v: v.T, lambda v: v[None], lambda v: None,
        lambda v: [[1, 2], [3]], lambda v: "x", lambda v: v[..., ::-1], lambda v: np.asfortranarray(v),
        lambda v: iter(v.tolist()), lambda v: v.newbyteorder() if hasattr(v, "newbyteorder") else v, lambda v: np.nan,
    ]  # fmt: skip
    with np.errstate(all="ignore"):
        return ways[rng.integers(len(ways))](values)


def actions(rng: np.random.Generator, folder: Path) -> bool:
    """Actions of every encoding, type, form and value."""
    name = str(rng.choice(["price", "expert-price", "token", "native"]))
    scenario = cell(3, 5, bandwidth=str(rng.choice(["optimal", "learned", "residual"])))
    codec, simulator = action_codec(name, scenario), Simulator(scenario, 1)
    codec.space.seed(int(rng.integers(2**31)))
    action: Any = codec.space.sample()
    if isinstance(action, dict):
        key = str(rng.choice(list(action)))
        action = {**action, key: disguised(odd(np.asarray(action[key])[None], rng)[0], rng)}
        if rng.random() < 0.1:
            action.pop(key)
    else:
        action = disguised(odd(np.asarray(action), rng), rng)
    observation = simulator.reset(0)
    batched = {k: [v] for k, v in action.items()} if isinstance(action, dict) else action
    if isinstance(action, np.ndarray) and action.ndim == 1:
        batched = action[None]
    outcome = simulator.step(codec.decode(batched, observation))
    check(np.isfinite(outcome.reward), f"{name}: reward is {outcome.reward}")
    encoded = observation_codec("device", scenario).encode(outcome.observation)
    check(np.isfinite(encoded), f"{name}: the next observation is not finite")
    return True


def odd(values: Any, rng: np.random.Generator) -> Any:
    """The same array with some odd values."""
    values = values.copy()
    with np.errstate(all="ignore"):
        for _ in range(int(rng.integers(3))):
            if values.size and values.dtype.kind == "f":
                values.flat[rng.integers(values.size)] = rng.choice(ODD)
    return values


@cache
def numbers() -> tuple[tuple[str, float, float, bool], ...]:
    """Every number of a scenario: its place, its limits and whether it is whole."""

    def walk(node: Any, defs: Any, prefix: str) -> Iterator[tuple[str, float, float, bool]]:
        node = defs[node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node
        for name, value in node["properties"].items():
            for option in value.get("anyOf") or value.get("oneOf") or [value]:
                if "$ref" in option or "properties" in option:
                    yield from walk(option, defs, f"{prefix}{name}.")
                elif "maximum" in option:
                    low = option.get("minimum", option.get("exclusiveMinimum"))
                    yield f"{prefix}{name}", low, option["maximum"], option["type"] == "integer"
            if "$ref" in value.get("items", {}):
                yield from walk(value["items"], defs, f"{prefix}{name}.0.")

    schema = Scenario.model_json_schema()
    return tuple(dict.fromkeys(walk(schema, schema["$defs"], "")))


def replace(data: Any, place: str, value: Any) -> None:
    """Put a value into nested data, where there is a mapping for it."""
    *path, last = place.split(".")
    for key in path:
        data = data[int(key)] if isinstance(data, list) else data.get(key)
        if data is None:
            return
    data[last] = value


LARGE: Final = ("layers", "hidden_size", "intermediate_size", "experts", "count", "tokens", "bank_passes", "diversity")
"""Numbers that decide how much memory and time a cell takes: not what is tried here."""


def scenarios(rng: np.random.Generator, folder: Path) -> bool:
    """Settings at both ends of their ranges, beyond them, and of other types; what loads is simulated and decided."""
    base = cell(3, 5) if rng.random() < 0.5 else small(str(rng.choice(["mobile", "jetson", "jetson-wifi", "decode"])))
    data = base.model_dump(mode="json")
    for _ in range(int(rng.integers(1, 6))):
        place, low, high, whole = numbers()[rng.integers(len(numbers()))]
        if place.rsplit(".", 1)[-1] in LARGE:
            continue
        value: Any = [low, high, np.exp(rng.uniform(np.log(max(low, 1e-9)), np.log(max(high, 1e-9))))][rng.integers(3)]
        if rng.random() < 0.15:
            value = [high * 1.01 + 1, low - 1, *WORDS][rng.integers(len(WORDS) + 2)]
        elif whole:
            value = int(min(value, 50))
        replace(data, place, value)
    scenario = load_scenario(scenario_of(data, folder))
    run(scenario, int(rng.integers(1000)))
    return True


def scenario_of(data: Any, folder: Path) -> str:
    """Write data as a file, as YAML takes it."""
    path = folder / "s.yaml"
    path.write_text(json.dumps(data), encoding="utf-8")
    return str(path)


@cache
def small(name: str) -> Scenario:
    """A preset with a bank that is quick to draw."""
    return load_scenario(name, name="small", gating={"bank_passes": 2})


def run(scenario: Scenario, seed: int) -> None:
    """Steps of rules and of the optimizer: everything that is seen and earned is finite, and within its space."""
    simulator = Simulator(scenario, 2)
    for name in ("wdmoe", "price", "dynamic-skipping"):
        policy = baselines.make(name)
        policy.reset(scenario, 2)
        observation = simulator.reset(seed)
        for _ in range(3):
            decision = policy.decide(observation)
            check(np.isfinite(decision.bandwidth), f"{name}: bandwidth is {decision.bandwidth}")
            outcome = simulator.step(decision)
            observation = outcome.observation
            for metric, values in outcome.metrics.items():
                check(np.isfinite(values), f"{name}: {metric} is {values}")
        for encoding in ("device", "flat"):
            codec = observation_codec(encoding, scenario)
            seen = codec.encode(observation)
            check(np.isfinite(seen), f"observation {encoding} is not finite")
            check([codec.space.contains(row) for row in seen], f"observation {encoding} lies outside its space")


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Content that is changed in some places: text mostly by its lines, cells and numbers, all else by its bytes."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.85 and data.isascii():
            out = bytearray(edited(out.decode("ascii", "replace"), rng).encode("utf-8", "replace"))
            continue
        start = int(rng.integers(len(out) + 1))
        end = min(start + int(rng.integers(1, 9)), len(out))
        match int(rng.integers(4)):
            case 0 if out:
                out[min(start, len(out) - 1)] ^= 1 << int(rng.integers(8))
            case 1:
                out[start:end] = rng.bytes(end - start)
            case 2:
                out[start:start] = out[start:end]
            case _:
                del out[start if rng.random() < 0.3 else len(out) - int(rng.integers(3)) :]
    return bytes(out)


def edited(text: str, rng: np.random.Generator) -> str:
    """Text in which a number, a character, a cell or a line is another, is gone, or stands twice."""
    if (way := int(rng.integers(6))) < 3:
        if found := list(re.finditer(r"-?\d+(\.\d+)?(e-?\d+)?", text)):
            number = found[rng.integers(len(found))]
            others = [number[0] * 2, f"-{number[0]}", f"{number[0]}e3", f"0.0{number[0]}", str(rng.choice(ODD)), ""]
            others += [str(WORDS[rng.integers(len(WORDS) - 1)]), str(rng.integers(20))]
            return text[: number.start()] + others[rng.integers(len(others))] + text[number.end() :]
    elif way == 3:
        place = int(rng.integers(len(text) + 1))
        return (
            text[:place] + str(rng.choice(list(",:;-{}[]&*!|> \t\n#'\"%ax.\0"))) + text[place + int(rng.integers(2)) :]
        )
    lines = text.split("\n")
    place, other = (int(rng.integers(len(lines))) for _ in range(2))
    match int(rng.integers(4)):
        case 0:
            del lines[place]
        case 1:
            lines.insert(other, lines[place])
        case 2:
            lines[place], lines[other] = lines[other], lines[place]
        case _:
            lines[place] = lines[place][: int(rng.integers(len(lines[place]) + 1))]
    return "\n".join(lines)


def yaml_files(rng: np.random.Generator, folder: Path) -> bool:
    """Files of scenarios with changed bytes."""
    import wdmoe_env

    presets = Path(wdmoe_env.__file__).parent / "scenarios"
    path = folder / "s.yaml"
    path.write_bytes(mutated((presets / f"{rng.choice(preset_names())}.yaml").read_bytes(), rng))
    load_scenario(path)
    return True


@cache
def measured() -> bytes:
    """A table of single runs."""
    rng = np.random.default_rng(0)
    rows = ["board,power_mode,operation,tokens,hidden,intermediate,precision,latency_s,trial"]
    rows += [
        f"b,m,swiglu_expert,{n},64,128,fp16,{1e-4 * (1 + 0.1 * n) * np.exp(0.05 * rng.standard_normal()):.6g},{trial}"
        for trial in range(6)
        for n in (1, 4, 16)
    ]
    return ("\n".join(rows) + "\n").encode()


def tables(rng: np.random.Generator, folder: Path) -> bool:
    """Tables of measurements with changed bytes; what is taken is checked, replayed and run."""
    from wdmoe_env.hardware.latency.check import check as suspects
    from wdmoe_env.hardware.latency.table import read_measurements

    path = folder / "m.csv"
    path.write_bytes(mutated(measured(), rng))
    suspects(read_measurements(path))
    compute = {"kind": "measured", "file": str(path), "replay": str(rng.choice(["distribution", "sequence"]))}
    run(load_scenario(cell(3, 5), devices=[{"name": "m", "count": 3, "compute": compute}]), 0)
    return True


@cache
def radio_logs() -> tuple[bytes, ...]:
    """A log of each format, plain and packed."""
    rng = np.random.default_rng(1)
    pairs = "".join(f"{t} {rng.uniform(5, 300):.2f}\n" for t in range(80)).encode()
    rows = (f"2020.01.16_10.{t // 60:02d}.{t % 60:02d},5G,-95,{rng.integers(30)},50000,D" for t in range(90))
    drive = "\n".join(["Timestamp,NetworkMode,RSRP,SNR,DL_bitrate,State", *rows]).encode()
    packets = "".join(f"{t}\n" for t in np.sort(rng.integers(1, 3000, 900))).encode()
    own = ("seconds,snr_db\n" + "".join(f"{t},{rng.uniform(0, 30):.1f}\n" for t in range(40))).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/log", pairs)
        archive.writestr("b.csv", drive)
    return pairs, drive, packets, own, packed.getvalue(), gzip.compress(pairs)


def radio(rng: np.random.Generator, folder: Path) -> bool:
    """Radio logs and archives with changed bytes; what is taken is written, read again and replayed."""
    from wdmoe_env.hardware.radio.importers import import_logs
    from wdmoe_env.hardware.radio.traces import read_radio_trace, write_radio_trace

    path = folder / "log"
    source = radio_logs()[rng.integers(len(radio_logs()))]
    path.write_bytes(mutated(source, rng))
    if source is radio_logs()[3]:
        path.rename(path := folder / "log.csv")
        traces = [read_radio_trace(path)]
    else:
        traces = import_logs(path, str(rng.choice(["snr_db", "rsrp_dbm", "throughput_bit_s"]))).traces
    for trace in traces[:2]:
        written = folder / "t.csv"
        write_radio_trace(written, trace)
        channel = {"shadowing": {"std_db": 0.0}, "fading": {"kind": "none"}, "trace": {"files": [str(written)]}}
        if trace.kind == "rsrp_dbm":
            channel["trace"]["reference_dbm"] = 18.0  # type: ignore[index]
        channel["trace"] |= {"gaps": "split", "step_s": 1.0, "band_hz": 1e9}  # type: ignore[operator]
        run(load_scenario(cell(3, 5), channel=channel), 0)
    return bool(traces)


@cache
def gate_weights() -> bytes:
    """A file of captured gate weights."""
    from wdmoe_env.gating.trace_file import write_trace

    rng = np.random.default_rng(2)
    weights = rng.dirichlet(np.ones(5), size=(120, 2)).astype(np.float16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "g.safetensors"
        write_trace(path, weights, np.repeat(np.arange(10), 12).astype(np.int32), {"top_k": "2"})
        return path.read_bytes()


def gate_traces(rng: np.random.Generator, folder: Path) -> bool:
    """Files of gate weights with changed bytes; what is taken is drawn from."""
    path = folder / "g.safetensors"
    path.write_bytes(mutated(gate_weights(), rng))
    run(load_scenario(cell(3, 5), gating={"trace": str(path)}), 0)
    return True


def policies(rng: np.random.Generator, folder: Path) -> bool:
    """Trained policies with changed bytes, and with changed values under a seal that fits; what loads decides."""
    import agents
    from agents.policies.shipped import FOLDER
    from wdmoe_env.files.tensors import load_folder, save_folder

    best = folder / "run" / "best"
    shutil.rmtree(folder / "run", ignore_errors=True)
    shutil.copytree(FOLDER / f"paper-{rng.choice(['ppo', 'sac'])}", best)
    if rng.random() < 0.5:
        file = best / str(rng.choice(["policy.json", "policy.safetensors"]))
        file.write_bytes(mutated(file.read_bytes(), rng))
    else:
        tensors, data = load_folder(best, "policy", 2**24)
        key = str(rng.choice(list(data)))
        value = WORDS[rng.integers(len(WORDS))]
        if rng.random() < 0.5:
            data[key] = value
        else:
            place, low, high, _ = numbers()[rng.integers(len(numbers()))]
            replace(data["scenario"], place, [low, high, high * 2 + 1, value][rng.integers(4)])
        if rng.random() < 0.3:
            name = str(rng.choice(list(tensors)))
            tensors[name] = tensors[name] * float(rng.choice([1e30, 0.0, -1.0]))
        save_folder(best, "policy", tensors, data)
    policy, scenario = agents.load(folder / "run", transfer=True), small("paper")
    simulator = Simulator(scenario, 2)
    policy.reset(scenario, 2)
    check(np.isfinite(simulator.step(policy.decide(simulator.reset(0))).reward), "reward is not finite")
    return True


def parquet(rng: np.random.Generator, folder: Path) -> bool:
    """Tables in Parquet with changed bytes."""
    from wdmoe_env.hardware.radio.traces import RadioTrace, read_radio_trace, write_radio_trace

    path = folder / "t.parquet"
    write_radio_trace(path, RadioTrace(np.arange(30.0), rng.uniform(0.0, 30.0, 30), "snr_db"))
    path.write_bytes(mutated(path.read_bytes(), rng))
    trace = read_radio_trace(path)
    check(np.isfinite(trace.values), "a value is not finite")
    return True


TARGETS: Final[dict[str, tuple[float, Target]]] = {
    "decisions": (0.30, decisions),
    "actions": (0.25, actions),
    "scenarios": (0.12, scenarios),
    "YAML files": (0.12, yaml_files),
    "measurements": (0.07, tables),
    "radio logs": (0.07, radio),
    "gate traces": (0.04, gate_traces),
    "policies": (0.028, policies),
    "Parquet": (0.002, parquet),
}
"""Of each kind its share of the cases."""
