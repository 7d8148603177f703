"""The work of `changeover console`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette

from changeover.app.asgi import serving
from changeover.app.installation import open_installation
from changeover.app.listening import address_of, listen
from changeover.app.logs import set_up_logging
from changeover.cli.connecting import gateway_of
from changeover.cli.frame import note, out, plain, print_listening, run
from changeover.client.wire import URL_VARIABLE
from changeover.console.app import console
from changeover.console.desk import Desk, always
from changeover.console.oidc import Provider
from changeover.console.pages import compile_first, compile_rest
from changeover.core.clock import SystemClock
from changeover.core.errors import ConfigError
from changeover.core.hosts import LOOPBACK, named
from changeover.core.settings import ConsoleSettings, JobSettings, find_project, secret_from_environment
from changeover.core.settling import settle_in
from changeover.core.threads import in_thread

DRAIN_S = 5


def serve_console(host: str, port: int, names: tuple[str, ...], https: bool, url: str | None, as_json: bool) -> None:
    """Serve whoever has a key, until a signal."""
    set_up_logging("text", sys.stderr)
    project = find_project(Path.cwd())
    most = (JobSettings() if project is None else project.settings.jobs).max_upload_mib
    desk = None if url or os.environ.get(URL_VARIABLE) or project is None else Desk(open_installation(project))
    gateway = always(gateway_of(url)) if desk is None else desk.gateway
    settings = ConsoleSettings() if desk is None or project is None else project.settings.console
    if settings.address is not None:
        names = (*names, urlsplit(settings.address).hostname or "")
        https = https or settings.address.startswith("https:")
    listener = listen(host, port)
    try:
        app = console(
            gateway,
            hosts=(*LOOPBACK, *named(host), *names),
            most_body_bytes=int(most * (1 << 20)),
            secure=https,
            desk=desk,
            provider=_provider(settings),
        )
        compile_first()
        settle_in()
        run(_serve(listener, app, desk, as_json))
    finally:
        listener.close()
    note("stopped")


def _provider(settings: ConsoleSettings) -> Provider | None:
    """Who vouches for people without a key, where the settings name one.

    Raises:
        ConfigError: Its secret is not in the environment.
    """
    if settings.issuer is None:
        return None
    variable = settings.client_secret_env
    secret = None if variable is None else secret_from_environment(variable)
    if variable is not None and secret is None:
        raise ConfigError(f"`console.client_secret_env`: the environment has no `{variable}`. Set it, and start again.")
    return Provider(settings, secret, SystemClock())


async def _serve(listener: socket.socket, app: Starlette, desk: Desk | None, as_json: bool) -> None:
    address, compiling = address_of(listener), asyncio.create_task(compile_rest())
    try:
        await serving(app, lambda: _announce(address, as_json), drain_s=DRAIN_S).serve([listener])
    finally:
        compiling.cancel()
        await asyncio.gather(compiling, return_exceptions=True)
        if desk is not None:
            await in_thread(desk.close)
        await app.state.watch.close()
        await app.state.sessions.close()


def _announce(address: str, as_json: bool) -> None:
    if as_json:
        print_listening(address=address)
        return
    out.print(
        f"[bold]console[/]  {plain(address)}   sign in with the admin key, or  changeover key new NAME --role viewer"
    )
    out.file.flush()
