"""Which devices a testbed has, and how they are reached: `local:8` on this machine, or a YAML file of addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from wdmoe_env.arrays import IntArray
from wdmoe_env.files.safe import StorageError
from wdmoe_env.files.yaml import read_yaml
from wdmoe_env.scenario import Scenario
from wdmoe_env.settings.loading import validated
from wdmoe_env.settings.parts import Settings
from wdmoe_env.settings.quantities import Duration
from wdmoe_env.system.availability import OnFailure
from wdmoe_env.testbed import keys
from wdmoe_env.testbed.kernel import KernelLinks, Links, why_not
from wdmoe_env.testbed.link import Link
from wdmoe_env.testbed.local import LocalDevices
from wdmoe_env.testbed.messages import Dtype
from wdmoe_env.testbed.peer import Expected, Peer
from wdmoe_env.testbed.serve import parse_address
from wdmoe_env.testbed.shares import ExpertFiles
from wdmoe_env.testbed.station import DEADLINE_S, Station

LOCAL = re.compile(r"local:(\d{1,3})")


class PeerSettings(Settings):
    """A device of a cluster."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    address: str
    """HOST:PORT, as its `--listen`."""


class ClusterSettings(Settings):
    """A testbed: its devices in the order of the scenario's, and how they are spoken to."""

    devices: Annotated[tuple[PeerSettings, ...], Field(min_length=1)]
    key: str | None = None
    """File of the key, beside this one; none for devices of this machine alone."""
    tls: str | None = None
    """Certificate of the devices' authority, beside this file."""
    dtype: Dtype = "float16"
    """Of activations on the wire."""
    deadline_s: Duration = DEADLINE_S
    """Seconds that devices have to answer a layer."""
    on_failure: OnFailure = "next-best"

    @model_validator(mode="after")
    def _told_apart(self) -> ClusterSettings:
        for what in ("name", "address"):
            values = [getattr(device, what) for device in self.devices]
            if twice := [value for value in values if values.count(value) > 1]:
                raise ValueError(f"devices: {what} {twice[0]!r} stands twice")
        for device in self.devices:
            parse_address(device.address, f"devices: address of {device.name}")
        return self


@dataclass(frozen=True)
class Testbed:
    """What is asked for, without anything being opened.

    Attributes:
        spec: `local:N` or a YAML file.
        settings: of the YAML file; None for local devices.
        links, slow_down: how links and devices are emulated.
        dtype: of activations on the wire.
        deadline_s: of a layer, real seconds.
    """

    spec: str
    settings: ClusterSettings | None
    links: Links
    slow_down: float
    dtype: Dtype
    deadline_s: float

    @property
    def local(self) -> int:
        """Devices on this machine."""
        return int(found[1]) if (found := LOCAL.fullmatch(self.spec)) else 0

    @property
    def on_failure(self) -> OnFailure:
        """What becomes of tokens whose device is gone."""
        return self.settings.on_failure if self.settings else "next-best"

    def facts(self) -> dict[str, object]:
        """What a result says of it."""
        return {
            "testbed": self.spec if self.local else Path(self.spec).name,
            "links": self.links,
            "slow_down": self.slow_down,
            "dtype": self.dtype,
            "deadline_s": self.deadline_s,
            "on_failure": self.on_failure,
        }


def find_testbed(
    spec: str,
    links: Links | None = None,
    slow_down: float = 1.0,
    dtype: Dtype | None = None,
    deadline_s: float | None = None,
) -> Testbed:
    """What `spec` and the options ask for; options stand over a file. Local devices are paced unless told otherwise.

    Raises:
        ValueError: the file is none, or an option is wrong.
    """
    if links == "kernel" and not LOCAL.fullmatch(spec):
        raise ValueError(f"--links kernel makes links on this machine, expected --testbed local:N, not {spec}")
    if LOCAL.fullmatch(spec):
        settings, links = None, links or "paced"
    else:
        settings, links = _read(Path(spec)), links or "none"
    if not 1.0 <= slow_down <= 1000.0:
        raise ValueError(f"--slow-down is {slow_down}, expected 1 to 1000")
    if links == "kernel" and (reason := why_not()):
        raise ValueError(f"--links kernel: {reason}")
    if links == "none" and slow_down != 1.0:
        raise ValueError(f"--slow-down is {slow_down}, but --links none emulates nothing that could be slowed down")
    wanted = deadline_s if deadline_s is not None else settings.deadline_s if settings else DEADLINE_S * slow_down
    if not wanted > 0.0:
        raise ValueError(f"--deadline is {wanted}, expected seconds above 0")
    return Testbed(spec, settings, links, slow_down, dtype or (settings.dtype if settings else "float16"), wanted)


def _read(path: Path) -> ClusterSettings:
    try:
        data = read_yaml(path)
    except (StorageError, ValueError) as error:
        raise ValueError(f"--testbed {error}; expected local:N or a YAML file of devices") from error
    return validated(ClusterSettings, data, f"--testbed {path}", "testbed")


def shares_of(hosts: IntArray, devices: int) -> list[tuple[int, ...]]:
    """The experts of each device, by the host of each expert."""
    return [tuple(np.flatnonzero(hosts == device).tolist()) for device in range(devices)]


@contextmanager
def opened(testbed: Testbed, model: Path, scenario: Scenario, wait_s: float = 10.0) -> Iterator[Station]:
    """A station that is connected to all devices; local ones live as long as the context.

    Raises:
        ValueError: devices and scenario do not fit, or the model's folder or the key cannot be used.
        LinkError: a device cannot be reached, or is not who it should be.
        RuntimeError: a local device does not start.
    """
    count = testbed.local or len(testbed.settings.devices if testbed.settings else ())
    if count != scenario.num_devices:
        raise ValueError(
            f"--testbed {testbed.spec} has {count} devices, expected the {scenario.num_devices} of scenario "
            f"{scenario.name!r}"
        )
    files = ExpertFiles(model)
    shares = shares_of(scenario.hosts, count)
    if missing := sorted(set(range(scenario.model.experts)) - set(files.experts)):
        raise ValueError(
            f"{model} holds no expert {missing[0]}, expected all {scenario.model.experts} of scenario {scenario.name!r}"
        )
    if testbed.local:
        with _kernel(testbed, count) as kernel, LocalDevices(model, shares, kernel) as local:
            peers = [Peer(f"local {i}", host, port, local.key) for i, (host, port) in enumerate(local.addresses)]
            with _station(testbed, peers, files, shares, scenario.hosts, kernel) as station:
                _start(station, wait_s)
                yield station
    else:
        with _station(testbed, _peers(testbed), files, shares, scenario.hosts) as station:
            _start(station, wait_s)
            yield station


def _start(station: Station, wait_s: float) -> None:
    station.open(wait_s)
    station.warm_up()


@contextmanager
def _kernel(testbed: Testbed, devices: int) -> Iterator[KernelLinks | None]:
    if testbed.links != "kernel":
        yield None
        return
    links = KernelLinks(devices)
    try:
        yield links
    finally:
        links.close()


def _station(
    testbed: Testbed,
    peers: Sequence[Peer],
    files: ExpertFiles,
    shares: Sequence[tuple[int, ...]],
    hosts: IntArray,
    kernel: KernelLinks | None = None,
) -> Station:
    links = links_to(peers, files, shares)
    return Station(links, hosts, testbed.dtype, testbed.deadline_s, testbed.on_failure, kernel)


def links_to(peers: Sequence[Peer], files: ExpertFiles, shares: Sequence[Sequence[int]]) -> list[Link]:
    """A link to each device, which must hold its share of the model in `files`."""
    return [
        Link(peer, Expected(tuple(own), files.layers, files.hidden, files.model, files.digest))
        for peer, own in zip(peers, shares, strict=True)
    ]


def _peers(testbed: Testbed) -> list[Peer]:
    settings, beside = testbed.settings, Path(testbed.spec).parent
    assert settings is not None
    key = keys.read_key(beside / settings.key if settings.key else None)
    tls = keys.station_tls(beside / settings.tls) if settings.tls else None
    found = []
    for device in settings.devices:
        host, port = parse_address(device.address, f"address of {device.name}")
        found.append(Peer(device.name, host, port, key, tls))
    return found
