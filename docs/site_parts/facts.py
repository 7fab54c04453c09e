"""Tables of what the environment and the evaluation know by name."""

from __future__ import annotations

from collections.abc import Mapping

from evaluation.comparison import LOOP_METRICS, METRICS, TESTBED_METRICS
from site_parts.tables import code, table
from wdmoe_env import load_scenario, preset_names
from wdmoe_env.command.presets import HARD
from wdmoe_env.envs.ids import PRESETS, PRICED, id_of
from wdmoe_env.envs.infos import KEYS
from wdmoe_env.system.metrics import SCHEMA


def presets() -> str:
    """The cells in figures."""
    heads = (
        "preset",
        "devices U",
        "experts E",
        "top-K",
        "layers I",
        "tokens J",
        "steps an episode",
        "what makes it hard",
    )
    order = [*HARD, *(name for name in preset_names() if name not in HARD)]
    return table(heads, map(_preset, order))


def _preset(name: str) -> tuple[str, ...]:
    scenario = load_scenario(name)
    model = scenario.model
    counts = (scenario.num_devices, model.experts, model.top_k, model.layers, scenario.traffic.tokens)
    return code(name), *map(str, counts), str(scenario.steps_per_episode), HARD.get(name, scenario.description)


def ids() -> str:
    """What Gymnasium knows."""
    heads = ("id", "scenario", "steps an episode", "actions, observations", "`reward_threshold`")
    rows = [_id(name) for name in [*HARD, *(name for name in PRESETS if name not in HARD)]]
    general = ", ".join(map(code, PRICED["device"].values()))
    return table(heads, [*rows, ("`WDMoE-v0`", "any, `paper` by default", "the scenario's", general, "none")])


def _id(name: str) -> tuple[str, ...]:
    preset = PRESETS[name]
    encodings = ", ".join(map(code, PRICED[preset.prices].values()))
    return code(id_of(name)), code(name), str(preset.steps), encodings, f"{preset.threshold:g}"


def step_metrics(words: Mapping[str, Mapping[str, str]]) -> str:
    """The infos of a step."""
    rows = [
        (code(KEYS[name]), kind.__name__, words[name].get("unit", ""), words[name]["meaning"])
        for name, kind in SCHEMA.items()
    ]
    return table(("key", "type", "unit", "meaning"), rows)


def evaluation_metrics(words: Mapping[str, Mapping[str, str]]) -> str:
    """What a comparison estimates."""
    where = {
        **dict.fromkeys(METRICS, "always"),
        **dict.fromkeys(LOOP_METRICS, "with `--model`"),
        **dict.fromkeys(TESTBED_METRICS, "with `--testbed`"),
    }
    rows = [(words[name].get("column", ""), code(name), words[name]["meaning"], there) for name, there in where.items()]
    return table(("column", "key", "meaning", "where"), rows)
