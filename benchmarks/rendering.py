"""How long pictures take: a frame, the record of an episode as GIF, and copies of the environment.

Times of frames and copies are minima, which other work on the machine disturbs least. The first picture, which sets up
the figure, and the record are timed once. A record is all of it: reset, steps, the first picture, the others, and the
GIF. Matplotlib is loaded before, and what that takes is told apart.
"""

from __future__ import annotations

import copy
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import gymnasium as gym

from benchmarks import harness

import wdmoe_env  # noqa: F401 - registers the environments
from wdmoe_env import preset_names
from wdmoe_env.render import Renderer, save_gif

COLUMNS: Final = (
    *("scenario", "first\npicture, ms", "a frame,\nms", "median", "largest"),
    *("frames\nrecorded", "record,\ns", "of it\nGIF, s", "pickle,\nkB", "pickle,\nms", "deepcopy,\nms"),
)


@dataclass(frozen=True)
class Options(harness.Options):
    """What is measured."""

    scenarios: list[str] = field(default_factory=preset_names)
    """Presets, or paths of YAML files."""
    frames: int = 32
    """Pictures of each at most; an episode may end before."""
    repeats: int = 5
    """Copies of each kind."""
    seed: int = 0
    """Seed of the episodes."""


@dataclass(frozen=True)
class Row:
    """What one scenario takes."""

    scenario: str
    first_ms: float
    frame_ms: float
    frame_median_ms: float
    frame_largest_ms: float
    frames: int
    record_s: float
    gif_s: float
    pickle_bytes: int
    pickle_ms: float
    deepcopy_ms: float


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def record(env: Any, options: Options) -> tuple[list[float], float, float]:
    """Record an episode with random actions: seconds of each picture, of the whole record, and of the GIF in it."""
    frames: list[Any] = []
    times: list[float] = []
    start, truncated = time.perf_counter(), False
    env.reset(seed=options.seed)
    env.action_space.seed(options.seed)
    while len(frames) < options.frames and not truncated:
        truncated = env.step(env.action_space.sample())[3]
        times.append(seconds(lambda: frames.append(env.render())))
    with tempfile.TemporaryDirectory() as folder:
        gif = seconds(lambda: save_gif(frames, Path(folder) / "episode.gif"))
    return times, time.perf_counter() - start, gif


def measure(scenario: str, options: Options) -> Row:
    """Record an episode, then copy the environment."""
    env = gym.make("WDMoE-v0", scenario=scenario, render_mode="rgb_array")
    (first, *times), whole, gif = record(env, options)
    times = sorted(times) or [first]
    pickled = min(seconds(lambda: pickle.dumps(env)) for _ in range(options.repeats))
    copied = min(seconds(lambda: copy.deepcopy(env)) for _ in range(options.repeats))
    row = Row(
        scenario=scenario,
        first_ms=1e3 * first,
        frame_ms=1e3 * times[0],
        frame_median_ms=1e3 * times[len(times) // 2],
        frame_largest_ms=1e3 * times[-1],
        frames=1 + len(times),
        record_s=whole,
        gif_s=gif,
        pickle_bytes=len(pickle.dumps(env)),
        pickle_ms=1e3 * pickled,
        deepcopy_ms=1e3 * copied,
    )
    env.close()
    return row


def main(options: Options) -> None:
    with harness.Report(options, COLUMNS) as report:
        loading = seconds(lambda: Renderer().close())
        report.note(f"Loading matplotlib took {loading:.2f} s.", {"loading_s": loading})
        for scenario in options.scenarios:
            row = measure(scenario, options)
            frame = (row.first_ms, row.frame_ms, row.frame_median_ms, row.frame_largest_ms)
            copies = f"{row.pickle_bytes / 1e3:,.0f}", f"{row.pickle_ms:.1f}", f"{row.deepcopy_ms:.1f}"
            cells = [*(f"{value:.0f}" for value in frame), str(row.frames), f"{row.record_s:.2f}", f"{row.gif_s:.2f}"]
            report.add(row, [scenario, *cells, *copies])


if __name__ == "__main__":
    sys.exit(harness.command(main, Options, __doc__))
