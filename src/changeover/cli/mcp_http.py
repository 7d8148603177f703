"""The work of `changeover mcp --http`."""

from __future__ import annotations

import socket
import sys

from changeover.app.asgi import serving
from changeover.app.listening import address_of, listen
from changeover.app.logs import set_up_logging
from changeover.cli.connecting import gateway_of
from changeover.cli.frame import note, out, plain, print_listening, run
from changeover.core.errors import ConfigError
from changeover.core.hosts import named
from changeover.tools.mcp.http import PATH, offered

DRAIN_S = 5
"""At the end, calls under way may go on for so long; their runs are cancelled or go on by themselves."""


def serve_http(place: str, url: str | None, hosts: tuple[str, ...], origins: tuple[str, ...], as_json: bool) -> None:
    """Serve whoever has a key, until a signal."""
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"`--http {place}`: write HOST:PORT, such as 127.0.0.1:8102.")
    set_up_logging("text", sys.stderr)
    gateway = gateway_of(url)
    listener = listen(host.strip("[]"), int(port), host_by="`--http`", port_by="`--http`")
    try:
        run(_serve(listener, gateway, (*named(host), *hosts), origins, as_json))
    finally:
        listener.close()
    note("stopped")


async def _serve(
    listener: socket.socket, gateway: str, hosts: tuple[str, ...], origins: tuple[str, ...], as_json: bool
) -> None:
    address = f"{address_of(listener)}{PATH}"
    async with offered(gateway, hosts, origins) as endpoint:
        server = serving(endpoint, lambda: _announce(address, as_json), drain_s=DRAIN_S)
        await server.serve([listener])


def _announce(address: str, as_json: bool) -> None:
    if as_json:
        print_listening(address=address)
        return
    out.print(f"[bold]tools[/]  {plain(address)}   agents send  Authorization: Bearer KEY")
    out.print("       a key for one  changeover key new NAME --tool TOOL")
    out.file.flush()
