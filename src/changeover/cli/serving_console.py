"""The work of `changeover console`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from changeover.app.asgi import serving
from changeover.app.installation import open_installation
from changeover.app.listening import address_of, listen
from changeover.app.logs import set_up_logging
from changeover.cli.connecting import gateway_of
from changeover.cli.frame import note, out, plain, print_listening, run
from changeover.client.wire import URL_VARIABLE
from changeover.console.app import console
from changeover.console.desk import Desk, Gateway, always
from changeover.core.hosts import LOOPBACK, named
from changeover.core.settings import JobSettings, find_project

DRAIN_S = 5


def serve_console(host: str, port: int, names: tuple[str, ...], https: bool, url: str | None, as_json: bool) -> None:
    """Serve whoever has a key, until a signal."""
    set_up_logging("text", sys.stderr)
    project = find_project(Path.cwd())
    most = (JobSettings() if project is None else project.settings.jobs).max_upload_mib
    desk = None if url or os.environ.get(URL_VARIABLE) or project is None else Desk(open_installation(project))
    gateway = always(gateway_of(url)) if desk is None else desk.gateway
    hosts = (*LOOPBACK, *named(host), *names)
    listener = listen(host, port)
    try:
        run(_serve(listener, gateway, desk, hosts, int(most * (1 << 20)), https, as_json))
    finally:
        listener.close()
    note("stopped")


async def _serve(
    listener: socket.socket,
    gateway: Gateway,
    desk: Desk | None,
    hosts: tuple[str, ...],
    most: int,
    https: bool,
    as_json: bool,
) -> None:
    address = address_of(listener)
    app = console(gateway, hosts=hosts, most_body_bytes=most, secure=https, desk=desk)
    try:
        await serving(app, lambda: _announce(address, as_json), drain_s=DRAIN_S).serve([listener])
    finally:
        await app.state.sessions.close()


def _announce(address: str, as_json: bool) -> None:
    if as_json:
        print_listening(address=address)
        return
    out.print(f"[bold]console[/]  {plain(address)}   sign in with a key  changeover key new NAME")
    out.file.flush()
