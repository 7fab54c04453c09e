"""Who the base station expects, and where."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from wdmoe_env.testbed.messages import Welcome


@dataclass(frozen=True)
class Expected:
    """What a device must be.

    Attributes:
        experts: that it must hold, rising.
        layers, hidden: of the model.
        model: its SHA-256; empty: any.
        share: SHA-256 of the weights of the experts that it says it holds, a ValueError if there are none such; None:
            any will do.
    """

    experts: tuple[int, ...]
    layers: int
    hidden: int
    model: str = ""
    share: Callable[[tuple[int, ...]], str] | None = None

    def check(self, welcome: Welcome) -> None:
        """Raise a ValueError that says in what a device is another."""
        for name in ("layers", "hidden"):
            if (got := getattr(welcome, name)) != (own := getattr(self, name)):
                raise ValueError(f"its {name} is {got}, expected {own}")
        if self.model and welcome.model != self.model:
            raise ValueError(f"it holds model {welcome.model:.12}, expected {self.model:.12}")
        if missing := sorted(set(self.experts) - set(welcome.experts)):
            raise ValueError(f"it holds experts {welcome.experts}, expected {missing[0]} among them")
        if self.share is not None:
            try:
                own = self.share(tuple(welcome.experts))
            except ValueError:
                own = ""
            if own != welcome.share:
                raise ValueError(f"the weights of its experts {welcome.experts} are others than the model's")


@dataclass(frozen=True)
class Peer:
    """Where a device is, and how to get there.

    Attributes:
        name: what messages and records call it.
        host, port: its address.
        key: pre-shared; empty for none.
        tls: where it speaks TLS.
    """

    name: str
    host: str
    port: int
    key: bytes = b""
    tls: ssl.SSLContext | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"
