"""A picture of one step of a policy, or its whole episode as a GIF: `python -m evaluation.snapshot --help`."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from evaluation.episodes.contenders import check_fit, find_contenders
from evaluation.episodes.errors import EvaluationError
from wdmoe_env import Policy, Scenario, Simulator, load_scenario
from wdmoe_env.console.output import tolerate_locale
from wdmoe_env.files.atomic import write_bytes
from wdmoe_env.render import Renderer, Scene, save_gif
from wdmoe_env.render.gif import MAX_FPS


@dataclass(frozen=True)
class Options:
    """Draw what a policy does in a held-out episode."""

    out: Path
    """File to write: .png for one step, .gif for every step up to it."""
    scenario: str = "paper"
    """Preset, or path of a YAML file."""
    policy: str = "top-k"
    """Baseline, directory of a trained run, or pretrained:ALGO."""
    layer: int = 8
    """Step to draw, counted from 0."""
    seed: int = 0
    """Decides the episode."""
    fps: float = 4.0
    """Pictures a second of a .gif, more than 0 and at most 50."""


def scenes(policy: Policy, scenario: Scenario, steps: int, seed: int) -> list[Scene]:
    """What the first `steps` steps of an episode look like."""
    simulator = Simulator(scenario, 1, "test")
    policy.reset(scenario, 1)
    simulator.reset(seed)
    seen = []
    for _ in range(steps):
        before = Scene.now(simulator)
        decision = policy.decide(simulator.observation)
        seen.append(before.after(decision, simulator.step(decision)))
    return seen


def draw(options: Options) -> None:
    """Write the picture.

    Raises:
        EvaluationError: a policy, a scenario or a step is wrong, or the file cannot be written.
    """
    try:
        scenario = load_scenario(options.scenario)
    except ValueError as error:
        raise EvaluationError(str(error)) from error
    if not 0 <= options.layer < scenario.steps_per_episode:
        raise EvaluationError(f"--layer is {options.layer}, expected 0 to {scenario.steps_per_episode - 1}")
    if options.out.suffix not in (".png", ".gif"):
        raise EvaluationError(f"--out is {options.out}, expected a .png or .gif file")
    if not 0.0 < options.fps <= MAX_FPS:
        raise EvaluationError(f"--fps is {options.fps:g}, expected more than 0 and at most {MAX_FPS:g}")
    contenders = find_contenders([options.policy])
    check_fit(contenders, [scenario])
    shown = scenes(contenders[0].policies[0], scenario, options.layer + 1, options.seed)
    renderer = Renderer()
    frames = [_array(renderer, scene) for scene in (shown if options.out.suffix == ".gif" else shown[-1:])]
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        if options.out.suffix == ".gif":
            save_gif(frames, options.out, options.fps)
        else:
            from PIL import Image

            picture = io.BytesIO()
            Image.fromarray(frames[0]).save(picture, format="PNG")
            write_bytes(options.out, picture.getvalue())
    except OSError as error:
        raise EvaluationError(f"{options.out} cannot be written: {error.strerror}") from error


def _array(renderer: Renderer, scene: Scene) -> NDArray[np.uint8]:
    picture = renderer.draw(scene)
    assert picture is not None  # only a window returns None
    return picture


def command_line(words: Sequence[str] | None = None) -> int:
    """What the words of the command line ask for; returns the exit status."""
    tolerate_locale()
    try:
        draw(tyro.cli(Options, prog="python -m evaluation.snapshot", args=words))
    except EvaluationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(command_line())
