"""`wdmoe COMMAND`: presets and versions, and the command lines of the project as they are.

The others run as `python -m` runs them, in this process, with the arguments that follow: exit status, signals and what
a started process takes for the main module are the same. What is heavy is loaded by the command that needs it.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from wdmoe_env.command.presets import preset_table
from wdmoe_env.command.versions import version_table
from wdmoe_env.console.commands import fault, usage
from wdmoe_env.console.output import printing, tolerate_locale

PROJECT: Final = "wdmoe_env"


class Module(NamedTuple):
    """A command line of the project.

    Attributes:
        name: of the module below `wdmoe_env`, as it is called in a wheel.
        extras: what to install where something is missing.
        text: what it does.
        before: arguments that come before those of the user.
    """

    name: str
    extras: str
    text: str
    before: tuple[str, ...] = ()


TABLES: Final = {
    "presets": (preset_table, "list the scenarios that come with the project"),
    "version": (version_table, "tell the versions of the project, of Python and of the main libraries"),
}
OPTIONS: Final = {"-h": "help", "--help": "help", "--version": "version"}
MODULES: Final = {
    "train": Module("train", "train", "train a policy with PPO or SAC"),
    "evaluate": Module("evaluate", "train", "compare policies in the same held-out episodes"),
    "explore": Module("explorer", "train,explore", "open the interactive page"),
    "testbed": Module("testbed", "testbed,llm", "split a model over processes or boards, and generate text with it"),
    "moe": Module("moe", "llm", "train or read a mixture-of-experts model, and capture its gate weights"),
    "hardware": Module("hardware", "train", "measure, check and fit devices; import radio logs"),
    "tune": Module("agents.tune", "train,tune", "search for hyperparameters"),
    "export": Module("train", "train,export", "write a trained policy as an ONNX file", ("export",)),
    "snapshot": Module("evaluation.snapshot", "train", "draw what a policy does, as a picture or a GIF"),
    "dataset": Module("evaluation.dataset", "train,data", "write Minari data sets of what policies do"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status; status 2 for one that is unknown or lacks what it needs.

    Raises:
        SystemExit: the command line that is run ends so.
    """
    tolerate_locale()
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["help"]
    name = OPTIONS.get(name, name)
    if name in MODULES:
        return _run(name, MODULES[name], rest)
    if name not in ("help", *TABLES):
        return fault(f"unknown command {name!r}, expected one of {', '.join([*TABLES, *MODULES])}")
    if name == "help" or rest in (["-h"], ["--help"]):
        return _show(_help())
    if rest:
        return fault(f"wdmoe {name} takes no arguments, but was given {' '.join(rest)}")
    return _show(TABLES[name][0]())


def _show(text: str) -> int:
    with printing():
        print(text)
    return 0


def _help() -> str:
    texts = {**{name: text for name, (_, text) in TABLES.items()}, **{name: m.text for name, m in MODULES.items()}}
    return f"{usage('wdmoe', texts)}\n\n`wdmoe COMMAND --help` tells the options of a command."


def _run(name: str, module: Module, arguments: Sequence[str]) -> int:
    sys.argv[1:] = [*module.before, *arguments]
    try:
        # As the main module: processes that it starts look for that.
        runpy.run_module(f"{PROJECT}.{module.name}", run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == PROJECT:
            raise
        return fault(f"wdmoe {name} needs {error.name}: pip install 'wdmoe-env[{module.extras}]'")
    return 0
