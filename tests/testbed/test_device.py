"""A device: what it answers, what it refuses, and how its command begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("msgspec")
pytest.importorskip("transformers")

import msgspec
from support.miniature import miniature, save_bytes
from support.testbed import KEY, connected, listening, small_cell

from wdmoe_env.testbed import keys
from wdmoe_env.testbed.__main__ import main
from wdmoe_env.testbed.device import Device, Identity
from wdmoe_env.testbed.experts import Experts
from wdmoe_env.testbed.layer import Order, Pace
from wdmoe_env.testbed.messages import PREFIX, VERSION, Call, Challenge, Hello, Proof, Welcome, decode_header, head
from wdmoe_env.testbed.shares import ExpertFiles
from wdmoe_env.testbed.split_model import attached, load_split

CALL = Call(run=1, forward=0, layer=0, attempt=1, id=7, experts=[1], tokens=2, dtype="float32")
PAYLOAD = np.ones(2 * 16, np.float32).tobytes() + np.ones(2, np.float32).tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Mixtral that reads bytes."""
    return save_bytes(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def device(folder: Path):
    """One that holds experts 1 and 4, and where it listens."""
    made = Device(Experts(ExpertFiles(folder), [1, 4]), Identity("board", KEY, max_payload=10_000))
    with listening([made]) as [address]:
        yield made, address


async def read(reader: asyncio.StreamReader) -> tuple[Any, bytes]:
    _, header, payload = PREFIX.unpack(await reader.readexactly(PREFIX.size))
    return decode_header(await reader.readexactly(header)), await reader.readexactly(payload)


def converse(address: tuple[str, int], *frames: bytes, greet: bool = True) -> list[Any]:
    """What a device says to frames, after the handshake; None where it closed the connection."""

    async def talk() -> list[Any]:
        reader, writer = await asyncio.open_connection(*address)
        said: list[Any] = []
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if greet:
                own = keys.nonce()
                writer.write(head(Hello(VERSION, own)))
                challenge = (await read(reader))[0]
                assert isinstance(challenge, Challenge)
                writer.write(head(Proof(keys.prove(KEY, b"station", own, challenge.nonce), "")))
                assert isinstance((await read(reader))[0], Welcome)
            for frame in frames:
                writer.write(frame)
                said.append(await asyncio.wait_for(read(reader), 10.0))
        writer.close()
        return [*said, *[None] * (len(frames) - len(said))]

    return asyncio.run(talk())


def changed(**changes: Any) -> Call:
    return msgspec.structs.replace(CALL, **changes)


def test_calls_are_answered_in_turn_whether_paced_or_not(device) -> None:
    _, address = device
    plain, paced = head(CALL, len(PAYLOAD)), head(changed(id=8, hold_s=0.02, uplink_bit_s=1e6), len(PAYLOAD))
    after = head(changed(id=9), len(PAYLOAD))
    found = converse(address, plain + PAYLOAD, paced + PAYLOAD, after + PAYLOAD)
    assert [message.id for message, _ in found] == [7, 8, 9]
    assert len({payload for _, payload in found}) == 1
    assert found[1][0].hold_s > 0.0
    assert found[0][0].load >= 0.0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (changed(experts=[2]), "holds no expert 2"),
        (changed(layer=3), "has 3 layers, not one of index 3"),
    ],
)
@pytest.mark.parametrize("hold_s", [0.0, 0.001])
def test_what_it_cannot_do_is_said_and_the_connection_stays(call: Call, said: str, hold_s: float, device) -> None:
    _, address = device
    asked = msgspec.structs.replace(call, hold_s=hold_s)
    (failure, _), (reply, _) = converse(
        address, head(asked, len(PAYLOAD)) + PAYLOAD, head(CALL, len(PAYLOAD)) + PAYLOAD
    )
    assert said in failure.reason
    assert reply.id == 7


@pytest.mark.parametrize("hold_s", [0.0, 0.001])
def test_a_payload_of_another_size_closes(hold_s: float, device) -> None:
    _, address = device
    assert converse(address, head(changed(hold_s=hold_s), len(PAYLOAD) - 4) + PAYLOAD[4:]) == [None]


def test_a_call_that_is_too_large_closes(device) -> None:
    _, address = device
    tokens = 150
    data = bytes(4 * 16 * tokens + 4 * tokens)
    assert converse(address, head(changed(tokens=tokens), len(data)) + data) == [None]
    ((reply, payload),) = converse(address, head(changed(tokens=100), 100 * 68) + bytes(100 * 68))
    assert (reply.tokens, len(payload)) == (100, 6400)


def test_who_does_not_keep_to_the_order_is_refused(device) -> None:
    _, address = device
    assert converse(address, head(CALL, 0), greet=False) == [None]
    assert converse(address, head(Hello(VERSION, keys.nonce())), greet=True) == [None]
    ((refusal, _),) = converse(address, head(Hello(VERSION + 1, keys.nonce())), greet=False)
    assert "speaks version 2, this device 1" in refusal.reason


def test_a_base_station_without_the_key_is_refused(device) -> None:
    _, address = device

    async def talk() -> list[str]:
        said = []
        for key, model in ((b"another", ""), (KEY, "0" * 64)):
            reader, writer = await asyncio.open_connection(*address)
            own = keys.nonce()
            writer.write(head(Hello(VERSION, own)))
            challenge = (await read(reader))[0]
            writer.write(head(Proof(keys.prove(key, b"station", own, challenge.nonce), model)))
            said.append((await read(reader))[0].reason)
            writer.close()
        return said

    said = asyncio.run(talk())
    assert said[0] == "the base station does not know the key"
    assert "not of 000000000000" in said[1]


def test_the_command_serves_until_its_parent_is_gone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.write_key(tmp_path / "key")
    keys.write_certificates(tmp_path / "tls", ["127.0.0.1"])
    end, other = os.pipe()
    os.close(other)
    before = torch.get_num_threads()
    with os.fdopen(end) as closed:
        monkeypatch.setattr(sys, "stdin", closed)
        words = ["device", "--model", str(folder), "--experts", "0,3", "--listen", "127.0.0.1:0", "--with-parent"]
        words += ["--tls", str(tmp_path / "tls" / "127.0.0.1.pem"), str(tmp_path / "tls" / "127.0.0.1.key")]
        assert main([*words, "--key", str(tmp_path / "key"), "--threads", "1", "--name", "mine"]) == 0
    torch.set_num_threads(before)
    assert "mine: experts 0,3 of" in (said := capsys.readouterr().out)
    assert "listening at 127.0.0.1:" in said


@pytest.mark.parametrize("name", ["gelu", "gelu_pytorch_tanh", "relu", "silu"])
def test_activation_functions(name: str, tmp_path: Path) -> None:
    model = miniature("mixtral", hidden_act=name)
    model.save_pretrained(tmp_path)
    held = Experts(ExpertFiles(tmp_path), [0, 5])
    rows, weights = torch.randn((3, 16)), torch.tensor([[0.5, 0.0], [0.2, 0.7], [0.0, 1.0]])
    with torch.no_grad():
        expected = model.model.layers[1].mlp.experts(rows, torch.tensor([[0, 5]] * 3), weights)
    assert torch.allclose(held.timed(1, [0, 5], rows, weights)[0], expected, atol=1e-5)


def test_an_unknown_activation_function_is_named(tmp_path: Path) -> None:
    miniature("mixtral", hidden_act="tanh").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="hidden_act is 'tanh', expected one of silu"):
        Experts(ExpertFiles(tmp_path), [0])


def test_paced_links_take_their_time(folder: Path) -> None:
    scenario = small_cell(ExpertFiles(folder), 3)
    tokens, experts = 8, 6
    selection = np.ones((tokens, experts), dtype=bool)
    gates = np.full((tokens, experts), 1.0 / experts)
    pace = Pace(np.full(4, 1e6), np.full(4, 1e6), lambda counts: np.full(4, 0.03), padded_bytes=500)
    order = Order(
        0, 0, torch.zeros((tokens, 16)), torch.ones((tokens, experts)), selection, gates, torch.from_numpy, pace
    )
    with connected(folder, scenario) as station:
        done = station.run(order)
    # 8 tokens of 500 bytes at 1 Mbit/s there, 30 ms of computing, and back.
    assert 0.094 <= done.latency_s < 0.3
    for call in done.calls:
        assert call.bytes_up == 4000
        assert call.uplink_s == pytest.approx(0.032, rel=0.3)


def test_a_model_is_attached_once(folder: Path) -> None:
    split = load_split(folder)
    ids = torch.tensor([[5, 6, 7]])
    with pytest.raises(RuntimeError, match="no devices are attached"):
        split(input_ids=ids)
    with attached(split, lambda layer, rows, experts, weights: rows):
        assert split(input_ids=ids).logits.shape == (1, 3, 259)
        with pytest.raises(RuntimeError, match="attached to this model already"), attached(split, lambda *_: None):
            pass
    with pytest.raises(ValueError, match="has its experts itself"), attached(miniature("mixtral"), lambda *_: None):
        pass


def test_a_model_without_experts_cannot_be_split(tmp_path: Path) -> None:
    import transformers

    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be loaded as a language model"):
        load_split(tmp_path)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 9,
    }
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="the experts of its layers are none"):
        load_split(tmp_path)
