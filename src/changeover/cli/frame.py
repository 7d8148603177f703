"""What every command shares: the project it is about, how it prints, how it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import getpass
import json
from collections.abc import Coroutine
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import BaseModel

from changeover.cli.exits import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_OF_VERDICT, EXIT_PASS, EXIT_USAGE
from changeover.cli.signature import Json, Reason
from changeover.cli.terminal import err, note, out, plain, print_error
from changeover.core.actors import user
from changeover.core.errors import ChangeoverError
from changeover.core.settings import Project, open_project

__all__ = [
    "EXIT_FAIL",
    "EXIT_INCONCLUSIVE",
    "EXIT_OF_VERDICT",
    "EXIT_PASS",
    "EXIT_USAGE",
    "Json",
    "Reason",
    "actor",
    "clock_time",
    "end",
    "err",
    "here",
    "note",
    "out",
    "plain",
    "print_error",
    "print_json",
    "print_listening",
    "require",
    "run",
]

Result = TypeVar("Result")


def here() -> Project:
    """The project that the working directory lies in."""
    return open_project(Path.cwd())


def actor() -> str:
    """Who runs this command, as the history names them."""
    try:
        return user(getpass.getuser())
    except (KeyError, OSError):
        return "unknown"


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's async part."""
    return asyncio.run(work)


def print_json(value: Any) -> None:
    """Print a value as JSON, dataclasses and times included."""
    try:
        print(json.dumps(value, indent=2, ensure_ascii=False, default=_plain), flush=True)
    except BrokenPipeError as exc:
        raise BrokenPipeError from exc  # typer ends with status 1 on one that has a number


def print_listening(**said: Any) -> None:
    """Say as JSON that a server listens: on one line and at once, for whoever started it reads it as the sign."""
    print(json.dumps(said), flush=True)


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
