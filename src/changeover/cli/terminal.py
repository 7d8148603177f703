"""Printing for people: results to standard output, everything on the way to them to standard error."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape

PIPE_WIDTH = 180
"""Columns where there is no terminal: tables in a file or a pipe are not folded."""

_UNSHOWN = dict.fromkeys(
    (
        *(place for place in (*range(32), *range(127, 160)) if chr(place) not in "\n\t"),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        *range(0xD800, 0xE000),
    ),
    "?",
)
"""Letters that are orders to a terminal, or turn the direction of the text behind them, and what stands for bytes of a
file's name that are no letters."""


class _Pipe(Console):
    """A console that leaves a reader who has seen enough to whoever runs the command, instead of ending with status 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return _Pipe(stderr=stderr, highlight=False, emoji=False, soft_wrap=True, width=width)


out = _console(stderr=False)
"""Results. Everything on the way to them goes to `err`, so that a pipe gets the result alone."""
err = _console(stderr=True)


def print_error(message: str) -> None:
    err.print(f"[bold red]error[/] {plain(message)}")


def note(message: str) -> None:
    """Say something on the way to the result."""
    err.print(f"[dim]{plain(message)}[/]")


def plain(text: object) -> str:
    """Text from a person, a file or a model, so that nothing in it is taken for markup or moves the terminal's cursor."""
    return escape(clean(text))


def clean(text: object) -> str:
    """The same for what is printed without markup."""
    return str(text).translate(_UNSHOWN)


def one_line(file: object) -> str:
    """The name of a file on one line, whatever it holds."""
    return plain(file).replace("\n", "?").replace("\t", "?")
