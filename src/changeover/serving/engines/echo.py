"""The echo engine's process: no model, real HTTP."""

from __future__ import annotations

import asyncio
import os
import socket
import time

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from changeover.serving.engines.child import Child
from changeover.serving.engines.echo_app import Behaviour, EchoApp
from changeover.serving.engines.ready_server import ReadyServer

KEEPALIVE_S = 75


class CuttableProtocol(HttpToolsProtocol):
    """Lets the application see its connection, so that it can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn has it
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def main() -> None:
    """Answer until the parent is gone."""
    child = Child()
    behaviour = Behaviour(**child.config["options"])
    time.sleep(behaviour.ready_delay_s)
    try:
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    except OSError as exc:
        child.failed(str(exc))
    config = uvicorn.Config(
        EchoApp(child.config["model"], child.secret, behaviour),
        http=CuttableProtocol,
        lifespan="off",
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_keep_alive=KEEPALIVE_S,
    )
    uvloop.run(ReadyServer(config, child).serve([listener]))
    os._exit(0)


if __name__ == "__main__":
    main()
