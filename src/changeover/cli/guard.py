"""Running one command, and ending as promised: a clear line for an error, no traceback for what was foreseen."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from changeover.cli.exits import EXIT_FAIL, EXIT_INTERRUPTED, EXIT_USAGE
from changeover.cli.terminal import print_error
from changeover.core.errors import (
    ChangeoverError,
    ConfigError,
    DatasetError,
    UnknownModelError,
    UnknownTaskError,
    UnknownToolError,
    nearest,
)


def refuse(name: str, known: Iterable[str]) -> int:
    """Say that there is no such command, and which is the nearest."""
    print_error(f"No command `{name}`. {nearest(name, known)}")
    return EXIT_USAGE


def run_guarded(name: str, module: str, argv: Sequence[str]) -> int:
    """Run a command's module with its arguments and return the exit status."""
    status = _guarded(name, module, argv)
    if status == EXIT_INTERRUPTED:
        print_error("Stopped. What was finished is kept; a rollout that has begun goes on.")
    return status


def _guarded(name: str, module: str, argv: Sequence[str]) -> int:
    try:
        return _call(name, module, argv)
    except (ConfigError, DatasetError, UnknownTaskError, UnknownToolError, UnknownModelError) as exc:
        print_error(exc.message)
        return EXIT_USAGE
    except ChangeoverError as exc:
        print_error(exc.message)
        return EXIT_FAIL
    except typer.TyperException as exc:
        print_error(_misuse(exc, name))
        return EXIT_USAGE
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (a pager, `head`) has seen enough. Python would complain once more while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as exc:
        # A disk that is full, a file that may not be read: foreseen everywhere at once rather than in each place.
        where = f"`{exc.filename}`: " if exc.filename else ""
        print_error(f"{where}{exc.strerror or exc}.")
        return EXIT_FAIL


def _misuse(error: typer.TyperException, name: str) -> str:
    """What was wrong with the arguments, and whose help says how they are given."""
    context: Any = getattr(error, "ctx", None)
    path = f"changeover {name}" if context is None else context.command_path
    said = (error.format_message() or "Something is missing").rstrip(".")
    return f"{said}{'' if said.endswith('?') else '.'} See `{path} --help`."


def _call(name: str, module: str, argv: Sequence[str]) -> int:
    command = typer.main.get_command(importlib.import_module(module).app)
    if not gc.isenabled():
        gc.freeze()  # what was imported stays to the end
        gc.enable()
    status = command.main(args=list(argv), prog_name=f"changeover {name}", standalone_mode=False)
    return status if isinstance(status, int) else 0
