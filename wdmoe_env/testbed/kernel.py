"""Links by the kernel: a network namespace for each device, a veth pair to it, and a token bucket at either end.

Packets then queue, are acknowledged and retried as on a slow wire. It takes root on Linux, and pyroute2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Literal

import numpy as np

from wdmoe_env.arrays import FloatArray

Links = Literal["none", "paced", "kernel"]
"""`paced`: each sender holds to the rate of the scenario's channel. `kernel`: the kernel holds it to that. `none`: as
the network is; there is no band to split."""
PACKET_BYTES: Final = 1514
SEGMENT_BYTES: Final = 1448
"""Of a full packet and of what it carries: Ethernet, IPv4 and TCP with timestamps take the rest."""
BURST_BYTES: Final = 3 * PACKET_BYTES
QUEUE_BYTES: Final = 2**24
"""What a link may hold: all of a layer, so that nothing is dropped."""
LEAST_BIT_S: Final = 1e4
NETWORK: Final = "10.77"


def why_not() -> str:
    """What keeps this process from making such links; empty if nothing does."""
    if sys.platform != "linux":
        return f"they are of Linux, not of {sys.platform}"
    try:
        import pyroute2  # noqa: F401
    except ImportError:
        return "pyroute2 is not installed: pip install 'wdmoe-env[kernel]'"
    if os.geteuid() != 0:
        return "they need root"
    name = f"wdmoe-{os.getpid()}-try"
    try:
        from pyroute2 import netns

        netns.create(name)
        netns.remove(name)
    except OSError as error:
        return f"no network namespace can be made: {error}"
    return ""


class KernelLinks:
    """A link to each of some namespaces; gone when closed.

    Args:
        devices: how many.

    Raises:
        RuntimeError: they cannot be made here; says why.
    """

    def __init__(self, devices: int) -> None:
        if reason := why_not():
            raise RuntimeError(f"links through the kernel cannot be made: {reason}")
        if not 1 <= devices <= 250:
            raise RuntimeError(f"links through the kernel to {devices} devices, expected 1 to 250")
        from pyroute2 import IPRoute

        self._here: Any = IPRoute()
        self._names = [f"wdmoe-{os.getpid()}-{device}" for device in range(devices)]
        self._spaces: list[Any] = []
        self._ends: list[tuple[int, int]] = []
        self._rates: FloatArray | None = None
        try:
            for device, name in enumerate(self._names):
                self._make(device, name)
        except BaseException:
            self.close()
            raise

    def _make(self, device: int, name: str) -> None:
        from pyroute2 import NetNS

        space: Any = NetNS(name)
        self._spaces.append(space)
        near, far = f"wdm{os.getpid() % 10**6}n{device}", f"wdm{os.getpid() % 10**6}f{device}"
        self._here.link("add", ifname=near, kind="veth", peer={"ifname": far, "net_ns_fd": name})
        ends = self._here.link_lookup(ifname=near)[0], space.link_lookup(ifname=far)[0]
        for end, (where, index) in enumerate(zip((self._here, space), ends, strict=True)):
            where.addr("add", index=index, address=f"{NETWORK}.{device}.{end + 1}", prefixlen=30)
            where.link("set", index=index, state="up")
        space.link("set", index=space.link_lookup(ifname="lo")[0], state="up")
        self._ends.append(ends)

    def host(self, device: int) -> str:
        """The address at which a device in its namespace is reached."""
        return f"{NETWORK}.{device}.2"

    def enter(self, device: int) -> Callable[[], None]:
        """What a child process calls to be in a device's namespace."""
        from pyroute2 import netns

        return lambda: netns.setns(self._names[device])

    def set_rates(self, bit_s: FloatArray) -> None:
        """Hold the links to (2, U) rates of what is carried, downlink first, bit/s."""
        wanted = np.maximum(bit_s, LEAST_BIT_S) * PACKET_BYTES / SEGMENT_BYTES
        for device, ends in enumerate(self._ends):
            for link, (where, index) in enumerate(zip((self._here, self._spaces[device]), ends, strict=True)):
                if self._rates is not None and self._rates[link, device] == wanted[link, device]:
                    continue
                bucket = {"rate": f"{int(wanted[link, device])}bit", "burst": BURST_BYTES, "limit": QUEUE_BYTES}
                where.tc("replace", "tbf", index, 0x10000, **bucket)
        self._rates = wanted

    def close(self) -> None:
        """Remove all."""
        from pyroute2 import netns

        # With a namespace its end of the pair goes, and so the other.
        for space in self._spaces:
            with suppress(OSError):
                space.close()
        for name in self._names:
            with suppress(OSError):
                netns.remove(name)
        self._here.close()
        self._spaces, self._names = [], []
