"""Hyperparameters per algorithm and scenario, from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, Field

from wdmoe_env.checks import STRICT, check_values
from wdmoe_env.files.yaml import read_yaml
from wdmoe_env.scenario import Scenario, preset_names

Algorithm = Literal["ppo", "sac"]
WarmStart = Literal["none", "price"]
FOLDER = Path(__file__).parents[1] / "hyperparameters"
WIDTHS: Final = (1, 4096)
"""Least and greatest width of a network."""
SECTIONS: Final = ("default", "warm_start", "scenarios")

Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Width = Annotated[int, Field(ge=WIDTHS[0], le=WIDTHS[1])]
Batch = Annotated[int, Field(ge=2, le=1_000_000)]


class PPO(BaseModel):
    """Hyperparameters of PPO and their limits, both allowed; `agents.plan.memory` limits what some need together."""

    model_config = STRICT

    width: Width
    learning_rate: Share
    learning_rate_end: Share
    rollout: Annotated[int, Field(ge=2, le=10_000_000)]
    batch_size: Batch
    n_epochs: Annotated[int, Field(ge=1, le=1_000)]
    gamma: Share
    gae_lambda: Share
    clip_range: NonNegative
    ent_coef: NonNegative
    vf_coef: NonNegative
    max_grad_norm: NonNegative
    log_std_init: Annotated[float, Field(ge=-20, le=2)]
    greedy_baseline: Annotated[int, Field(ge=0, le=1)]


class SAC(BaseModel):
    """Those of SAC."""

    model_config = STRICT

    width: Width
    learning_rate: Share
    learning_rate_end: Share
    buffer_size: Annotated[int, Field(ge=1, le=100_000_000)]
    learning_starts: Annotated[int, Field(ge=0, le=10**15)]
    batch_size: Batch
    tau: Share
    gamma: Share
    gradient_steps: Annotated[int, Field(ge=1, le=10_000)]
    ent_coef: NonNegative | str
    """A number, or a text such as `auto_0.02`: adapted from there on."""


MODELS: Final[dict[Algorithm, type[BaseModel]]] = {"ppo": PPO, "sac": SAC}


def section_of(algorithm: Algorithm, scenario: Scenario) -> str | None:
    """The section of the algorithm's file that a scenario takes: its own, or that of the preset that it is based on.

    None where there is neither: then the defaults hold.

    Raises:
        ValueError: as `hyperparameters`.
    """
    known = _table(algorithm)["scenarios"]
    return next((name for name in (scenario.name, scenario.based_on) if name in known), None)


def told_section(algorithm: Algorithm, scenario: Scenario) -> str | None:
    """What is said where a scenario trains with the defaults: a copy of a preset may not know what it lost."""
    if section_of(algorithm, scenario) is not None:
        return None
    lacking = f"scenario {scenario.name!r} has no section of its own, and no based_on"
    return f"hyperparameters: section default of {algorithm}.yaml, because {lacking}"


def hyperparameters(
    algorithm: Algorithm, section: str | None, warm_start: WarmStart = "none", **overrides: Any
) -> dict[str, Any]:
    """Defaults of the algorithm, then a scenario's section, those for a warm start if there is one, then `overrides`.

    Args:
        algorithm: ppo or sac.
        section: key under `scenarios` in the algorithm's file, see `section_of`; None: the defaults.
        warm_start: what the actor imitates first.
        **overrides: replace what the file says.

    Raises:
        ValueError: the algorithm, the section or a key is unknown, a value is of the wrong type or out of range, two do
            not fit, or the file itself is wrong, in any of its sections.
    """
    table = _table(algorithm)
    if section is not None and section not in table["scenarios"]:
        raise ValueError(f"section is {section!r:.60}, expected one of {', '.join(table['scenarios'])}")
    own = {} if section is None else table["scenarios"][section]
    warm = {} if warm_start == "none" else table["warm_start"]
    settings = {**table["default"], **own, **warm, **overrides}
    _check(algorithm, settings)
    return settings


def _table(algorithm: Algorithm) -> dict[str, Any]:
    """The algorithm's file, checked as a whole."""
    if algorithm not in get_args(Algorithm):
        raise ValueError(f"algo is {algorithm!r:.60}, expected one of {', '.join(get_args(Algorithm))}")
    table = read_yaml(file := FOLDER / f"{algorithm}.yaml")
    if set(table) != set(SECTIONS):
        raise ValueError(f"{file} has the sections {', '.join(map(str, table))}, expected {', '.join(SECTIONS)}")
    default, scenarios = (_mapping(file, name, table[name]) for name in ("default", "scenarios"))
    # A misspelt preset shows as one that is missing; other names are those of scenarios of one's own.
    if missing := [name for name in preset_names() if name not in scenarios]:
        raise ValueError(f"{file} has no section {missing[0]!r} under scenarios, expected one for every preset")
    sections = {"default": default, "warm_start": table["warm_start"]}
    sections |= {f"scenarios.{name}": values for name, values in scenarios.items()}
    for place, values in sections.items():
        own = _mapping(file, place, values)
        try:
            _check(algorithm, {**default, **own})
        except ValueError as error:
            raise ValueError(f"{file}, section {place}: {error}") from None
    return table


def _mapping(file: Path, place: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ValueError(f"{file}: section {place} is {values!r:.60}, expected a mapping")
    return values


def _check(algorithm: Algorithm, settings: dict[str, Any]) -> None:
    model = MODELS[algorithm]
    known = list(model.model_fields)
    if unknown := [name for name in settings if name not in known]:
        raise ValueError(f"unknown hyperparameter {unknown[0]!r} of {algorithm}, expected one of {', '.join(known)}")
    if missing := [name for name in known if name not in settings]:
        raise ValueError(f"hyperparameter {missing[0]} is missing")
    check_values(model, settings, lambda name: f"hyperparameter {name}")
    if settings.get("greedy_baseline") and settings["gamma"] > 0:
        # What can be had greedily in a state that was reached depends on the actions before it: no baseline.
        raise ValueError(f"greedy_baseline is 1 and gamma is {settings['gamma']}, expected 0 for one of them")
