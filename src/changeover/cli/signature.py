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

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the history.")]


def later(module: str) -> Callable[[], Any]:
    """A module that is imported when its command runs: called, it gives the module."""
    return partial(importlib.import_module, module)
