"""`changeover ask`: a task, from the terminal."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from changeover.app.asking import answered, asking
from changeover.app.local import NOT_RUNNING, operator_key, running_address
from changeover.cli.frame import Json, err, here, out, print_json, require, run
from changeover.core.errors import ConfigError

app = typer.Typer(add_completion=False)


@app.command()
def ask(
    task: Annotated[str, typer.Argument(help="The task to ask; `changeover status` lists them.")],
    text: Annotated[str, typer.Argument(help="What to ask: a text, a file's path, or `-` for standard input.")],
    user: Annotated[str | None, typer.Option(help="Whose request it is; the same user stays on the same side.")] = None,
    as_json: Json = False,
) -> None:
    """Send a text to a task and print the answer as it comes.

    Example: changeover ask summarise examples/memo.txt
    """
    project = here()
    address = require(running_address(project.state), NOT_RUNNING.format(name=project.settings.name))
    body: dict[str, Any] = {"model": task, "messages": [{"role": "user", "content": _content(text)}]}
    if user is not None:
        body["user"] = user
    run(_ask(address, operator_key(project.state), body, as_json))


def _content(text: str) -> str:
    if text == "-":
        return _decoded(sys.stdin.buffer.read(), "standard input")
    if not _names_a_file(text):
        return _decoded(os.fsencode(text), "the text")
    return _decoded(Path(text).read_bytes(), f"`{text}`")


def _decoded(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{what} is not UTF-8 (byte {exc.start}). Convert it first.") from exc


def _names_a_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False  # longer than a path can be, or with a zero byte in it


async def _ask(address: str, key: str, body: dict[str, Any], as_json: bool) -> None:
    if as_json:
        whole, who = await answered(address, key, body)
        print_json({**whole, "answered_by": who})
        return
    started = time.perf_counter()
    async with asking(address, key, body) as answer:
        async for piece in answer.pieces:
            out.file.write(piece.text)
            out.file.flush()
    out.file.write("\n")
    seconds = time.perf_counter() - started
    who = answer.who
    err.print(f"[dim]{who['deployment']} · route {who['route']} · bundle {who['bundle']} · {seconds:.1f} s[/]")
