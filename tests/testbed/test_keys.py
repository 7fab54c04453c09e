"""Who may connect: proofs, keys, TLS."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("msgspec")
pytest.importorskip("cryptography")
pytest.importorskip("transformers")

from support.miniature import save_bytes
from support.testbed import KEY, listening

from wdmoe_env.testbed import keys
from wdmoe_env.testbed.device import STRANGERS, Device, Identity
from wdmoe_env.testbed.experts import Experts
from wdmoe_env.testbed.link import Link, LinkError
from wdmoe_env.testbed.peer import Expected, Peer
from wdmoe_env.testbed.shares import ExpertFiles
from wdmoe_env.testbed.station import Station

WANTED = Expected((0,), 3, 16)


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Experts:
    return Experts(ExpertFiles(save_bytes(tmp_path_factory.mktemp("model"))), [0])


def test_a_proof_is_of_one_side_one_key_and_one_connection() -> None:
    own, other = keys.nonce(), keys.nonce()
    proof = keys.prove(KEY, b"device", own, other)
    assert keys.proves(proof, KEY, b"device", own, other)
    assert not keys.proves(proof, KEY, b"station", own, other)
    assert not keys.proves(proof, KEY[:-1] + b"x", b"device", own, other)
    assert not keys.proves(proof, KEY, b"device", other, own)
    assert not keys.proves(proof, KEY, b"device", own, keys.nonce())


def test_keys_are_read_with_care(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert keys.read_key(None) == b""
    with pytest.raises(ValueError, match=r"--key .* cannot be read"):
        keys.read_key(path)
    keys.write_key(path)
    assert len(keys.read_key(path)) == 64
    path.chmod(0o644)
    with pytest.raises(ValueError, match=r"may be read by others \(mode 044\): chmod 600"):
        keys.read_key(path)
    path.chmod(0o600)
    path.write_bytes(b"short\n")
    with pytest.raises(ValueError, match="holds 5 bytes, expected at least 16"):
        keys.read_key(path)


def test_tls_takes_the_certificates_of_its_authority_alone(experts: Experts, tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        keys.write_certificates(tmp_path / name, ["127.0.0.1", "elsewhere"])

    def connect(served: Path, trusted: Path) -> str:
        device = Device(experts, Identity("board", KEY))
        context = keys.device_tls(Path(f"{served}.pem"), Path(f"{served}.key"))
        with listening([device], context) as [(host, port)]:
            link = Link(Peer("board", host, port, KEY, keys.station_tls(trusted)), WANTED)
            with Station([link], np.zeros(1, dtype=np.int64), "float32") as station:
                try:
                    station.open(0.0)
                except LinkError as error:
                    return str(error)
                calls = station.warm_up(rounds=1)
                return calls[0].outcome

    ours = tmp_path / "ours"
    assert connect(ours / "127.0.0.1", ours / "authority.pem") == "answered"
    assert "certificate verify failed" in connect(ours / "127.0.0.1", tmp_path / "theirs" / "authority.pem")


def test_certificates_are_for_who_they_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--names is empty"):
        keys.write_certificates(tmp_path / "none", [])
    with pytest.raises(ValueError, match=r"holds '\.\./up'"):
        keys.write_certificates(tmp_path / "up", ["../up"])
    with pytest.raises(ValueError, match="cannot be used"):
        keys.station_tls(tmp_path / "nowhere.pem")
    with pytest.raises(ValueError, match="cannot be used"):
        keys.device_tls(tmp_path / "nowhere.pem", tmp_path / "nowhere.key")


def test_strangers_do_not_keep_others_out_for_long(experts: Experts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdmoe_env.testbed.device.HANDSHAKE_S", 0.3)
    device = Device(experts, Identity("board", KEY))
    with listening([device]) as [address]:
        strangers = [socket.create_connection(address) for _ in range(STRANGERS + 3)]
        for stranger in strangers:
            stranger.settimeout(5.0)
        # Each is told why, and let go: those that are too many at once, the others when their time is over.
        said = [stranger.recv(4096) for stranger in strangers]
        assert all(b"no proof of the key" in data for data in said[:STRANGERS])
        assert all(b"too many connections" in data for data in said[STRANGERS:])
        assert all(stranger.recv(1) == b"" for stranger in strangers)
        for stranger in strangers:
            stranger.close()
        link = Link(Peer("board", *address, KEY), WANTED)
        with Station([link], np.zeros(1, dtype=np.int64), "float32") as station:
            station.open()
            assert link.welcome is not None
            assert link.welcome.name == "board"
    assert device.strangers == 0


def test_who_fails_at_tls_does_not_count_as_a_stranger(experts: Experts, tmp_path: Path) -> None:
    keys.write_certificates(tmp_path / "tls", ["127.0.0.1"])
    context = keys.device_tls(tmp_path / "tls" / "127.0.0.1.pem", tmp_path / "tls" / "127.0.0.1.key")
    device = Device(experts, Identity("board", KEY))
    with listening([device], context) as [address]:
        for _ in range(STRANGERS + 4):
            with socket.create_connection(address) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
                stranger.settimeout(5.0)
                while stranger.recv(4096):
                    pass
        link = Link(Peer("board", *address, KEY, keys.station_tls(tmp_path / "tls" / "authority.pem")), WANTED)
        with Station([link], np.zeros(1, dtype=np.int64), "float32") as station:
            station.open()
            assert link.state == "up"
    assert device.strangers == 0
