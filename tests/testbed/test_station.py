"""The split model against the whole one, and what becomes of devices that fail."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("msgspec")

from support.miniature import OPTIONS, miniature, save_bytes, tokens
from support.testbed import KEY, Loop, connected, listening, small_cell

from benchmarks.testbed_proxy import FAULTS, Fault, Proxy

import baselines
from wdmoe_env import Simulator
from wdmoe_env.interface import Decision
from wdmoe_env.moe.in_the_loop import ModelInTheLoop
from wdmoe_env.moe.local_model import load_model
from wdmoe_env.moe.routers import Routers
from wdmoe_env.system.availability import NoDeviceLeftError
from wdmoe_env.testbed.cell import LiveCell
from wdmoe_env.testbed.device import Device, Identity
from wdmoe_env.testbed.experts import Experts
from wdmoe_env.testbed.layer import Order
from wdmoe_env.testbed.link import Link, LinkError
from wdmoe_env.testbed.passes import Decoder
from wdmoe_env.testbed.peer import Expected, Peer
from wdmoe_env.testbed.shares import ExpertFiles
from wdmoe_env.testbed.split_model import attached, load_split
from wdmoe_env.testbed.station import Station

CLOSE = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Mixtral that reads bytes."""
    return save_bytes(tmp_path_factory.mktemp("mixtral"))


@pytest.mark.parametrize("family", OPTIONS)
def test_split_and_whole_are_the_same(family: str, tmp_path: Path) -> None:
    miniature(family).save_pretrained(tmp_path)
    files, whole, split = ExpertFiles(tmp_path), miniature(family), load_split(tmp_path)
    rule, ids = Routers(split).rule, tokens(1, 8)
    assert sum(p.numel() for p in split.parameters()) < sum(p.numel() for p in whole.parameters())
    scenario = small_cell(files, 3)
    with connected(tmp_path, scenario) as station:
        cell = LiveCell(scenario, station, rule, links="none")
        policy = baselines.make("price")
        policy.reset(scenario, 1)
        cell.reset(0)
        decided = []

        def decide(layer: int, weights: Any) -> Any:
            decision = policy.decide(cell.show_gates(weights.numpy()[None]))
            cell.step(decision)
            decided.append(torch.from_numpy(np.ascontiguousarray(decision.selection[0])))
            return decided[-1]

        with torch.inference_mode(), Routers(split).intercept(decide), attached(split, cell.run):
            found = split(input_ids=ids).logits
    with torch.inference_mode(), Routers(whole).intercept(lambda layer, weights: decided[layer]):
        expected = whole(input_ids=ids).logits
        plain = whole(input_ids=ids).logits
    assert torch.allclose(found, expected, atol=CLOSE)
    assert torch.equal(plain, expected)
    assert len(cell.records) == files.layers


@pytest.mark.parametrize("name", ["top-k", "wdmoe", "price", "random"])
def test_losses_are_those_of_the_model_in_the_loop(name: str, folder: Path) -> None:
    scenario = small_cell(ExpertFiles(folder), 3)
    ids = np.random.default_rng(0).integers(3, 250, (1, 24))
    policy, decisions = baselines.make(name), list[Decision]()
    policy.reset(scenario, 1)
    loop = ModelInTheLoop(load_split(folder), tried=False)
    with connected(folder, scenario) as station:
        cell = LiveCell(scenario, station, loop.routers.rule, links="paced")
        cell.reset(0)

        def act(observation):
            decisions.append(policy.decide(observation))
            cell.step(decisions[-1])
            return decisions[-1].selection

        with attached(loop.model, cell.run):
            found = loop.read(ids, cell, act)
    simulator, again = Simulator(scenario, 1, split="test"), iter(decisions)
    simulator.reset(0)

    def replay(observation):
        decision = next(again)
        simulator.step(decision)
        return decision.selection

    expected = ModelInTheLoop(load_model(folder, "float32", "cpu")).read(ids, simulator, replay)
    assert np.abs(found - expected).max() < CLOSE
    measured = [float(record.metrics["latency"][0]) for record in cell.take_records()]
    assert len(measured) == 9
    assert min(measured) > 0.0


@pytest.mark.parametrize("streams", [1, 3])
def test_generated_text_is_the_same_token_for_token(streams: int, folder: Path) -> None:
    scenario, split = small_cell(ExpertFiles(folder), 3), load_split(folder)
    prompt = [5, 99, 120, 7, 44]
    with connected(folder, scenario) as station:
        decoder = Decoder(split, scenario, station, baselines.make("top-k"), "none", 1.0)
        found = decoder.generate(prompt, 12, streams, 0.0, 0)
    whole = load_model(folder, "float32", "cpu")
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        for _ in range(found.shape[1]):
            ids = torch.cat([ids, whole(input_ids=ids).logits[:, -1:].argmax(dim=-1)], dim=1)
    assert found.tolist() == [ids[0, len(prompt) :].tolist()] * streams
    assert len(decoder.records) == 3 * found.shape[1]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 5e-3), ("int8", 5e-2)])
def test_smaller_numbers_on_the_wire_cost_little(dtype, tolerance: float, folder: Path) -> None:
    scenario = small_cell(ExpertFiles(folder), 3)
    with connected(folder, scenario) as exact:
        expected = exact.run(order(exact)).out
    with connected(folder, scenario, dtype=dtype) as station:
        found = station.run(order(station)).out
    error = float((found - expected).abs().max() / expected.abs().max())
    assert 0.0 < error < tolerance


def order(station: Station, layer: int = 0, tokens: int = 8) -> Order:
    """A layer of random rows, routed to the three experts of largest weight."""
    rng, experts = np.random.default_rng(layer), len(station.hosts)
    gates = rng.dirichlet(np.ones(experts), size=tokens)
    selection = np.argsort(np.argsort(-gates)) < 3
    rows = torch.from_numpy(rng.standard_normal((tokens, 16))).float()
    return Order(0, layer, rows, scores(gates, selection), selection, gates, lambda kept: scores(gates, kept))


def scores(gates: np.ndarray, selection: np.ndarray) -> Any:
    kept = np.where(selection, gates, 0.0)
    return torch.from_numpy(kept / kept.sum(axis=1, keepdims=True)).float()


def reference(folder: Path, asked: Order, selection: np.ndarray) -> Any:
    held = Experts(ExpertFiles(folder), range(6))
    return held(asked.layer, range(6), asked.rows, scores(asked.gate_weights, selection))


def test_a_token_goes_once_to_a_device_of_several_experts(folder: Path) -> None:
    scenario = small_cell(ExpertFiles(folder), 3, devices=2)
    with connected(folder, scenario) as station:
        asked = order(station)
        done = station.run(asked)
    assert torch.allclose(done.out, reference(folder, asked, asked.selection), atol=1e-5)
    for call in done.calls:
        own = asked.selection[:, station.hosts == call.device]
        assert (call.tokens, call.pairs) == (own.any(axis=1).sum(), own.sum())
        assert call.bytes_up == 4 * 16 * call.tokens
        assert call.bytes_down == call.bytes_up + 4 * call.tokens * call.experts


@pytest.fixture(scope="module")
def proxied(folder: Path):
    """Four devices, each behind a proxy, and the station's links to them."""
    files, scenario = ExpertFiles(folder), small_cell(ExpertFiles(folder), 3)
    shares = [tuple(np.flatnonzero(scenario.hosts == device).tolist()) for device in range(4)]
    devices = [Device(Experts(files, own), Identity(f"device {i}", KEY)) for i, own in enumerate(shares)]
    loop = Loop()
    with listening(devices) as addresses:
        proxies = [Proxy(*address) for address in addresses]
        places = [loop.run(proxy.listen()) for proxy in proxies]

        def station(**options) -> Station:
            expected = [Expected(own, files.layers, files.hidden, files.model, files.digest) for own in shares]
            peers = [Peer(f"device {i}", *place, KEY) for i, place in enumerate(places)]
            links = [Link(peer, wanted) for peer, wanted in zip(peers, expected, strict=True)]
            return Station(links, scenario.hosts, **{"dtype": "float32", "deadline_s": 0.5, **options})

        yield station, proxies
    loop.close()


@pytest.mark.parametrize("how", ["next-best", "renormalise"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_layer_with_a_fault_is_the_reference_under_its_selection(fault: Fault, how, proxied, folder: Path) -> None:
    make, proxies = proxied
    with make(on_failure=how) as station:
        station.open()
        proxies[1].fault, proxies[1].once = fault, True
        asked, began = order(station), time.perf_counter()
        done = station.run(asked)
        assert time.perf_counter() - began < 0.5 + 0.5
        assert torch.allclose(done.out, reference(folder, asked, done.selection), atol=1e-5)
        lost = fault in ("stall", "close", "garbage")
        assert (done.selection != asked.selection).any() == lost
        assert not (done.selection[:, station.hosts == 1].any() and lost)
        assert (done.lost_mass > 0.0) == lost
        assert {call.outcome for call in done.calls if call.device == 1} == {
            "deadline" if fault == "stall" else "failed" if lost else "answered"
        }
        until = time.perf_counter() + 5.0
        while not station.living.all() and time.perf_counter() < until:
            station.tend(0.05)
        again = station.run(order(station, 1))
        assert {call.device for call in again.calls} == {0, 1, 2, 3}
        assert (again.selection == order(station, 1).selection).all()
        station.tend(0.05)
        assert station.links[1].stale == (1 if fault == "twice" else 0)


def test_a_masked_device_is_not_waited_for(proxied, folder: Path) -> None:
    make, proxies = proxied
    with make() as station:
        station.open()
        station.links[2].drop("gone")
        station.links[2].retry_at = np.inf
        asked = order(station)
        done = station.run(asked)
        assert {call.device for call in done.calls} <= {0, 1, 3}
        assert max(call.attempt for call in done.calls) == 1
        assert torch.allclose(done.out, reference(folder, asked, done.selection), atol=1e-5)
    for proxy in proxies:
        assert proxy.fault is None


def test_no_device_left_is_an_error(proxied) -> None:
    make, _ = proxied
    with make() as station:
        station.open()
        for link in station.links:
            link.drop("gone")
            link.retry_at = np.inf
        with pytest.raises(NoDeviceLeftError):
            station.run(order(station))


@pytest.mark.parametrize(
    ("changes", "peer", "said"),
    [
        ({}, {"key": b"another key of enough bytes"}, "does not know the key"),
        ({}, {"key": b""}, "it has a key and none was given"),
        ({"model": "0" * 64}, {}, "holds experts of model"),
        ({"experts": (0, 5)}, {}, "expected 5 among them"),
        ({"hidden": 99}, {}, "its hidden is 16, expected 99"),
        ({"layers": 9}, {}, "its layers is 3, expected 9"),
        ({"share": lambda experts: "0" * 64}, {}, "are others than the model's"),
    ],
)
def test_who_is_not_expected_is_named(changes, peer, said: str, folder: Path) -> None:
    files = ExpertFiles(folder)
    device = Device(Experts(files, [0, 4]), Identity("board", KEY))
    with listening([device]) as [(host, port)]:
        given = {"experts": (0, 4), "layers": 3, "hidden": 16, "model": files.model, "share": files.digest, **changes}
        link = Link(Peer("board", host, port, **{"key": KEY, **peer}), Expected(**given))
        with (
            Station([link], np.zeros(6, dtype=np.int64)) as station,
            pytest.raises(LinkError, match=rf"device board at {host}:{port}: .*{said}"),
        ):
            station.open(0.0)
        assert link.state == "down"


def test_a_device_goes_on_listening_when_its_station_is_gone(folder: Path) -> None:
    scenario = small_cell(ExpertFiles(folder), 3, devices=1)
    files = ExpertFiles(folder)
    device = Device(Experts(files, range(6)), Identity("board", KEY))
    with listening([device]) as [(host, port)]:
        for _ in range(2):
            wanted = Expected(tuple(range(6)), files.layers, files.hidden)
            with Station([Link(Peer("board", host, port, KEY), wanted)], scenario.hosts, "float32") as station:
                station.open()
                asked = order(station)
                assert torch.allclose(station.run(asked).out, reference(folder, asked, asked.selection), atol=1e-5)


def test_warm_up_tells_what_links_are(folder: Path) -> None:
    scenario = small_cell(ExpertFiles(folder), 3)
    with connected(folder, scenario) as station:
        calls = station.warm_up(rounds=2)
    assert {(call.layer, call.device) for call in calls} == {(layer, u) for layer in range(3) for u in range(4)}
    assert all(call.outcome == "answered" for call in calls)


def test_a_call_that_the_device_would_not_take_is_named(folder: Path) -> None:
    files = ExpertFiles(folder)
    device = Device(Experts(files, range(6)), Identity("board", KEY, max_payload=400))
    with listening([device]) as [(host, port)]:
        link = Link(Peer("board", host, port, KEY), Expected(tuple(range(6)), files.layers, files.hidden))
        with Station([link], np.zeros(6, dtype=np.int64), "float32") as station:
            station.open()
            with pytest.raises(ValueError, match=r"takes 400 at most: start it with a larger --max-payload"):
                station.run(order(station))
