"""`changeover mcp`: tools for agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from changeover.cli.signature import Json, Key, Url, later
from changeover.core.errors import ConfigError

over_http = later("changeover.cli.mcp_http")
over_stdio = later("changeover.cli.mcp_stdio")

app = typer.Typer(add_completion=False)


@app.command()
def mcp(
    http: Annotated[
        str | None,
        typer.Option(
            "--http",
            metavar="HOST:PORT",
            help="Serve streamable HTTP there, at `/mcp`, instead of standard input and output; port 0 takes any free one.",
        ),
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(
            "--files", metavar="DIR", help="Let the agent name files by their path in this folder. Not with --http."
        ),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="With --http: another name under which it may be called; may be repeated."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            "--origin", help="With --http: a page, such as https://agents.example.org, whose scripts may call."
        ),
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Offer every tool that a key may use to agents, by the Model Context Protocol.

    Over standard input and output an agent starts this itself, and the tools are those of the project's operator or of
    `--key`. With `--http` it is a server beside the gateway: each caller sends a Changeover key of their own, so that
    rights, limits and usage are theirs; whoever has none gets a 401.

    Example: changeover mcp --http 127.0.0.1:8102
    """
    if http is None:
        if host or origin:
            raise ConfigError("`--host` and `--origin` are for `--http`.")
        over_stdio().serve(url, key, files)
        return
    if files is not None:
        raise ConfigError("`--files` would open a folder of this machine to whoever calls. Leave it out with `--http`.")
    if key is not None:
        raise ConfigError("With `--http` each caller sends a key of their own. Leave `--key` out.")
    over_http().serve_http(http, url, tuple(host or ()), tuple(origin or ()), as_json)
