"""`changeover ask`: a task, from the terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, cast

import aiohttp
import msgspec
import typer

from changeover.app.local import operator_key, running_address
from changeover.cli.frame import NOT_RUNNING, Json, err, here, out, print_json, require, run
from changeover.core.errors import ChangeoverError, ConfigError, UnknownTaskError, UpstreamError

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
    try:
        run(_ask(address, operator_key(project.state), body, as_json))
    except aiohttp.ClientError as exc:
        raise ChangeoverError(f"The gateway at {address} broke off: {exc or type(exc).__name__}.") from exc


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
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    started = time.perf_counter()
    async with (
        aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=None)) as session,
        session.post(
            f"{address}/v1/chat/completions", data=msgspec.json.encode({**body, "stream": not as_json})
        ) as response,
    ):
        if response.status != 200:
            raise _failure(msgspec.json.decode(await response.read()))
        if as_json:
            print_json({**msgspec.json.decode(await response.read()), "answered_by": _who(response)})
            return
        async for piece in _pieces(response):
            out.file.write(piece)
            out.file.flush()
        who = _who(response)
    out.file.write("\n")
    seconds = time.perf_counter() - started
    err.print(f"[dim]{who['deployment']} · route {who['route']} · bundle {who['bundle']} · {seconds:.1f} s[/]")


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async for line in _lines(response):
        if not line.startswith(b"data:") or b"[DONE]" in line:
            continue
        event = cast("dict[str, Any]", msgspec.json.decode(line[5:]))
        if event.get("error"):
            raise _failure(event)
        for choice in cast("list[dict[str, Any]]", event.get("choices") or []):
            yield cast("dict[str, Any]", choice["delta"]).get("content") or ""


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length: one event may carry a whole answer."""
    rest = b""
    async for part in response.content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line


def _failure(fields: dict[str, Any]) -> ChangeoverError:
    error = cast("dict[str, Any]", fields["error"])
    if error.get("code") == UnknownTaskError.code:
        return UnknownTaskError(str(error["message"]))
    kind = UpstreamError if error.get("source") == "model" else ChangeoverError
    return kind(str(error["message"]))


def _who(response: aiohttp.ClientResponse) -> dict[str, str]:
    names = ("route", "deployment", "bundle", "request-id")
    return {name: response.headers.get(f"x-changeover-{name}", "") for name in names}
