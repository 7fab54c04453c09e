"""Command lines of several commands: ``python -m PACKAGE COMMAND``; ``--help`` lists them.

A command is a module with a dataclass `Options` and `main(options) -> int`, the exit status. What is heavy it loads
when it runs, not when it is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from wdmoe_env.console.output import tolerate_locale
from wdmoe_env.files.safe import StorageError


@dataclass(frozen=True)
class CommandLine:
    """The commands of a package.

    Attributes:
        package: its name.
        commands: of each command the module below the package, and what it does.
        needs: what to install where something is missing.
    """

    package: str
    commands: Mapping[str, tuple[str, str]]
    needs: str

    @property
    def program(self) -> str:
        """What a user types."""
        return f"python -m {self.package}"

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run one command and return the exit status; a fault ends with one line that names it, and status 2."""
        tolerate_locale()
        name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
        if name in ("-h", "--help"):
            print(usage(self.program, {command: text for command, (_, text) in self.commands.items()}))
            return 0
        try:
            if name not in self.commands:
                raise ValueError(f"unknown command {name!r}, expected one of {', '.join(self.commands)}")
            return self._run(name, rest)
        except ImportError as error:
            return fault(f"{error}; {self.needs}")
        except (ValueError, OSError, RuntimeError, StorageError) as error:
            return fault(str(error))
        except KeyboardInterrupt:
            return fault("interrupted", 130)

    def _run(self, name: str, arguments: Sequence[str]) -> int:
        import tyro

        command = import_module(f"{self.package}.{self.commands[name][0]}")
        options = tyro.cli(command.Options, prog=f"{self.program} {name}", args=arguments)
        return int(command.main(options))


def usage(program: str, commands: Mapping[str, str]) -> str:
    """The help of a program: its commands, and what each does."""
    width = max(12, 2 + max(map(len, commands)))
    listed = [f"  {command:{width}}{text}" for command, text in commands.items()]
    return "\n".join([f"usage: {program} COMMAND [OPTIONS]", "", *listed])


def fault(message: str, status: int = 2) -> int:
    """Print an error as one line on standard error, and return the exit status."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status
