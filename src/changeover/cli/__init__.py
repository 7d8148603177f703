"""The command line: parse, call, print. Each command is a module that is imported when it is first asked for."""

from changeover.cli.main import main

__all__ = ["main"]
