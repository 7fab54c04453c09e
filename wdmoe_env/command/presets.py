"""`wdmoe presets`: the scenarios that come with the project, and what makes each hard."""

from __future__ import annotations

from typing import Final

from wdmoe_env.command.columns import columns
from wdmoe_env.scenario import preset_names, scenario_from
from wdmoe_env.settings.loading import read_source

HEADINGS: Final = "preset", "devices", "experts", "tokens", "steps", "what makes it hard"
HARD: Final = {
    "paper": "nothing but the layer itself: the paper's cell, reconstructed",
    "jetson": "measured boards: reading weights, scattered times, load, heat",
    "jetson-wifi": "the same boards, links that change as a radio log says",
    "mobile": "devices move; channel state is one step old and noisy",
    "cell-64": "size: 64 devices, top-8 of 64 experts",
    "decode": "few tokens: whether a board is used at all decides",
    "many-experts": "which of a board's eight experts to open",
    "tiny-moe": "gate weights of a real small model",
}
"""In the order of the README: the paper's cell first."""


def preset_table() -> str:
    """A row for each preset: devices, experts of a layer, tokens of a pass, steps of an episode."""
    order = [*HARD, *(name for name in preset_names() if name not in HARD)]
    return columns([HEADINGS, *map(_row, order)], numbers=range(1, 5))


def _row(name: str) -> tuple[str, ...]:
    scenario = scenario_from(read_source(name))
    counts = scenario.num_devices, scenario.model.experts, scenario.traffic.tokens, scenario.steps_per_episode
    return name, *map(str, counts), HARD.get(name, scenario.description)
