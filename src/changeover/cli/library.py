"""`changeover library`: the library as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, later

app = typer.Typer(add_completion=False, help="Serve the library's weights to engines.", no_args_is_help=True)
work = later("changeover.cli.serving_library")


@app.callback()
def group() -> None:
    """Serve the library's weights to engines."""


@app.command("serve")
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; another than loopback opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free one.", min=0, max=65535)] = 8101,
    open_door: Annotated[bool, typer.Option("--open", help="Ask for no key. On loopback only.")] = False,
    as_json: Json = False,
) -> None:
    """Serve verified weights as the Hugging Face Hub does, until Ctrl-C: engines load from here by `HF_ENDPOINT`.

    Callers send a key of this installation, which every client of the hub does that finds it in `HF_TOKEN`. Models that
    the licence policy does not allow are not served. The gateway does not notice: this is a process of its own.

    Example: changeover library serve --port 8101
    """
    work().serve_library(host, port, open_door, as_json)
