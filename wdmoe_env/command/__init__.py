"""The command `wdmoe`: what the project can do, by one name. See `wdmoe --help`."""

from wdmoe_env.command.line import main

__all__ = ["main"]
