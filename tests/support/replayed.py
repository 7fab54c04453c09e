"""A measurement table of two boards, and tiny cells whose devices replay it."""

from pathlib import Path
from typing import Any

import numpy as np
from support.toy import LINEAR, toy

from wdmoe_env import Scenario
from wdmoe_env.hardware.latency.measurement import Measurement
from wdmoe_env.hardware.latency.table import write_measurements

COUNTS = (1, 2, 4, 6)
CALM = {"mean": 0.0, "std": 0.0}


def runs(board: str = "slow", count: int = 50, tokens: tuple[int, ...] = COUNTS, seed: int = 0) -> list[Measurement]:
    """Single runs of the toy's expert, one after the other over the token counts, that slow down and scatter."""
    rng, pace = np.random.default_rng(seed), {"slow": 4e-5, "fast": 1e-5}[board]
    return [
        Measurement(
            board=board, power_mode="default", operation="swiglu_expert", tokens=n, hidden=64, intermediate=128,
            precision="fp16", latency_s=float((pace + 1e-6 * n) * (1 + 0.5 * i / count) * rng.lognormal(0.0, 0.2)),
            trial=i // len(tokens), time_s=1e9 + i,
        )
        for i, n in enumerate(np.resize(tokens, count).tolist())
    ]  # fmt: skip


def table(folder: Path) -> Path:
    """Write the table of both boards."""
    write_measurements(folder / "boards.csv", [*runs(), *runs("fast", count=32, seed=1)])
    return folder / "boards.csv"


def replaying(path: Path, replay: str = "distribution", **overrides: Any) -> Scenario:
    """Return a toy of two slow devices, a fast one and a computed one, with 6 experts; `mixed` replays in both ways."""
    ways = ("distribution", "sequence") if replay == "mixed" else (replay, replay)
    slow, fast = (
        {"kind": "measured", "file": str(path), "board": board, "replay": way}
        for board, way in zip(("slow", "fast"), ways, strict=True)
    )
    devices = [
        {"name": "slow", "count": 2, "compute": slow},
        {"name": "plain", "compute": LINEAR},
        {"name": "fast", "compute": fast},
    ]
    return toy(4, experts=6, **{"devices": devices, "reward": {"mass_floor": 0.8}, **overrides})
