"""Contenders: what is compared, found from the words of a command line."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.episodes.errors import EvaluationError
from wdmoe_env import Policy, Scenario
from wdmoe_env.plugins import import_plugin

REFERENCE = "top-k"
PRETRAINED = "pretrained:"
_CLASS = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")
"""A class of somebody's own module."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A row of the comparison: a baseline, a trained run, or a set of runs that differ in their seed.

    Attributes:
        name: what tables and plots call it.
        source: what was asked for.
        policies: one, or one for each run of a set.
        run_dirs: where the runs lie; empty for a baseline and for a policy that is shipped.
        trained: whether training made it.
    """

    name: str
    source: str
    policies: tuple[Policy, ...]
    run_dirs: tuple[Path, ...] = ()
    trained: bool = False


def find_contenders(sources: Sequence[str], transfer: bool = False) -> list[Contender]:
    """Turn `top-k`, `RUN_DIR`, `pretrained:ALGO`, `module:Class` or `LABEL=` before any of them into contenders.

    A class is a `Policy` that is made without arguments; its module is installed, or lies in the working directory.
    A source that holds a path separator or names a directory is a trained run, and is called what its folder is called;
    a folder of `seed-*` folders is a set of runs. With `transfer` trained policies run in scenarios that are not their
    own too.

    Raises:
        EvaluationError: a policy is unknown, a run cannot be loaded, or two contenders have the same name.
    """
    found = [_find(source, transfer) for source in sources]
    check_names(found)
    return found


def check_names(contenders: Sequence[Contender]) -> None:
    """Refuse two contenders of the same name, or none at all."""
    if not contenders:
        raise EvaluationError("no policies given: expected at least one, such as top-k")
    counts = Counter(contender.name for contender in contenders)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise EvaluationError(f"more than one policy is called {twice[0]!r}: tell them apart with LABEL=POLICY")


def make_baseline(name: str) -> Policy:
    """Make a baseline by name; an unknown one is an EvaluationError."""
    import baselines

    try:
        return baselines.make(name)
    except ValueError as error:
        raise EvaluationError(str(error)) from error


def check_fit(contenders: Sequence[Contender], scenarios: Sequence[Scenario]) -> None:
    """Reset every policy in every scenario, so that one that does not fit is found before anything long starts."""
    for contender in contenders:
        for scenario in scenarios:
            for policy in contender.policies:
                try:
                    policy.reset(scenario, 1)
                except _misfits(contender) as error:
                    raise EvaluationError(
                        f"policy {contender.name!r} cannot run in scenario {scenario.name!r}: {error}"
                    ) from error


def _misfits(contender: Contender) -> tuple[type[Exception], ...]:
    """What `reset` raises; policies that are shipped are read from their files only then."""
    if not contender.trained:
        return (ValueError,)
    import agents

    return (ValueError, agents.StorageError)


def _find(source: str, transfer: bool) -> Contender:
    label, equals, target = source.partition("=")
    # An equals sign in a path is none of ours.
    if not equals or os.sep in label or Path(source).is_dir():
        label, target = "", source
    if not target:
        raise EvaluationError(f"policy {source!r} is empty: expected a baseline's name or a run's directory")
    if target.startswith(PRETRAINED):
        algo = target.removeprefix(PRETRAINED)
        return Contender(label or algo, source, (_pretrained(algo, transfer),), trained=True)
    if named := _CLASS.fullmatch(target):
        policy = _own(named[1], named[2])
        return Contender(label or policy.name, source, (policy,))
    if os.sep not in target and not Path(target).is_dir():
        return Contender(label or target, source, (make_baseline(target),))
    folder = Path(target)
    if not folder.is_dir():
        raise EvaluationError(f"no trained run at {target!r}: the directory does not exist")
    run_dirs = tuple(sorted(folder.glob("seed-*/"))) or (folder,)
    policies = tuple(_load(run_dir, transfer) for run_dir in run_dirs)
    return Contender(label or folder.resolve().name, source, policies, run_dirs, trained=True)


def _own(module: str, name: str) -> Policy:
    """Make the policy of a class in somebody's own module."""
    try:
        made = getattr(import_plugin(module), name)()
    except ValueError as error:
        raise EvaluationError(f"policy {module}:{name}: {error}") from error
    except AttributeError as error:
        raise EvaluationError(f"policy {module}:{name}: {error}; expected a class of that module") from error
    except TypeError as error:
        raise EvaluationError(f"policy {module}:{name} cannot be made without arguments: {error}") from error
    if not isinstance(made, Policy):
        raise EvaluationError(f"policy {module}:{name} makes {made!r:.60}, expected a Policy: name, reset and decide")
    return made


def _pretrained(algo: Any, transfer: bool) -> Policy:  # any word: agents knows the algorithms and checks it
    # Loading torch takes seconds; who compares baselines alone does not wait for it.
    import agents

    try:
        return agents.pretrained(algo, transfer=transfer)
    except (agents.StorageError, ValueError) as error:
        raise EvaluationError(f"no policy {PRETRAINED}{algo}: {error}") from error


def _load(run_dir: Path, transfer: bool) -> Policy:
    import agents

    try:
        return agents.load(run_dir, transfer=transfer)
    except (agents.StorageError, ValueError, OSError) as error:
        raise EvaluationError(f"cannot load the trained run {str(run_dir)!r}: {error}") from error
