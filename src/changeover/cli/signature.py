"""What a command's signature is made of, so that parsing a line and showing a help imports no room.

A command that needs much to do its work declares its options in one module and has its work in another:

    work = later("changeover.cli.comparing")

    @app.command()
    def compare(task: …, as_json: Json = False) -> None:
        '''The help.'''
        work().compare(task, as_json=as_json)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Url = Annotated[
    str | None,
    typer.Option("--url", help="Address of a gateway, instead of this project's; else `CHANGEOVER_URL`."),
]
Key = Annotated[
    str | None,
    typer.Option("--key", help="Whose rights and usage it is, instead of the local operator's; else `CHANGEOVER_KEY`."),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the history.")]


def later(module: str) -> Callable[[], Any]:
    """A module that is imported when its command runs: called, it gives the module."""
    return partial(importlib.import_module, module)


class Defaulting(TyperGroup):
    """Commands of which one need not be named: `changeover evidence 12` is `changeover evidence pack 12`."""

    default: str

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = not args or args[0] in (*self.commands, "--help")
        return super().parse_args(ctx, args if named else [self.default, *args])
