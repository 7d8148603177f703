"""`changeover console`: pages in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, Url, later

work = later("changeover.cli.serving_console")

app = typer.Typer(add_completion=False)


@app.command()
def console(
    host: Annotated[
        str, typer.Option(help="Address to listen on; another than loopback opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free one.", min=0, max=65535)] = 8103,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="Another name under which browsers reach it; may be repeated."),
    ] = None,
    https: Annotated[
        bool, typer.Option("--https", help="Browsers reach it by HTTPS, through a proxy: cookies go no other way.")
    ] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Serve the console until Ctrl-C: in a project every page; elsewhere the tools and the playground of a gateway.

    Who signs in does so with an API key; rights, limits and usage are those of the key. What pages begin to measure ends
    with it, and a browser loads nothing from anywhere else.

    Example: changeover console --port 8103
    """
    work().serve_console(host, port, tuple(name or ()), https, url, as_json)
