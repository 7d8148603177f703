"""What every command shares: the project it is about, how it prints, how it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import getpass
import json
import sys
from collections.abc import Coroutine
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape

from changeover.core.errors import ChangeoverError
from changeover.core.settings import Project, open_project

EXIT_PASS, EXIT_FAIL, EXIT_USAGE, EXIT_INCONCLUSIVE = 0, 1, 2, 3
EXIT_INTERRUPTED = 130
"""As shells report an interrupt."""

EXIT_OF_VERDICT = {"pass": EXIT_PASS, "fail": EXIT_FAIL, "inconclusive": EXIT_INCONCLUSIVE}

NOT_RUNNING = "Project `{name}` is not running. Start it in another terminal: `changeover up`."

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the history.")]

PIPE_WIDTH = 180
"""Columns where there is no terminal: tables in a file or a pipe are not folded."""


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(stderr=stderr, highlight=False, emoji=False, soft_wrap=True, width=width)


out = _console(stderr=False)
"""Results. Everything on the way to them goes to `err`, so that a pipe gets the result alone."""
err = _console(stderr=True)

Result = TypeVar("Result")


def here() -> Project:
    """The project that the working directory lies in."""
    return open_project(Path.cwd())


def actor() -> str:
    """Who runs this command, as the history names them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's async part."""
    return asyncio.run(work)


def print_json(value: Any) -> None:
    """Print a value as JSON, dataclasses and times included."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def print_error(message: str) -> None:
    err.print(f"[bold red]error[/] {plain(message)}")


def note(message: str) -> None:
    """Say something on the way to the result."""
    err.print(f"[dim]{plain(message)}[/]")


def end(status: int) -> None:
    """End the command with a status."""
    raise typer.Exit(status)


def require(value: Result | None, otherwise: str) -> Result:
    """Give the value, or fail with a message."""
    if value is None:
        raise ChangeoverError(otherwise)
    return value


def clock_time(at: datetime) -> str:
    """A moment as a person here reads it."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def plain(text: object) -> str:
    """Text from a person, a file or a model, so that nothing in it is taken for markup."""
    return escape(str(text))


def points(share: float) -> str:
    """A difference of scores in points of 100, with its sign."""
    return f"{100 * share:+.1f}"


def odds(e_value: float) -> str:
    """An e-value as odds."""
    if e_value >= 10_000:
        return "> 10 000 : 1"
    return f"{e_value:.0f} : 1" if e_value >= 10 else f"{e_value:.1f} : 1"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form")
