"""The echo engine's process: no model, real HTTP."""

from __future__ import annotations

import asyncio
import os
import time
from types import FrameType

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from changeover.serving.engines.child import Child
from changeover.serving.engines.echo_app import Behaviour, EchoApp
from changeover.serving.engines.misbehaving import before_it_answers, within_an_answer
from changeover.serving.engines.ready_server import ReadyServer

KEEPALIVE_S = 75


class CuttableProtocol(HttpToolsProtocol):
    """Lets the application see its connection, so that it can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn has it
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class EchoServer(ReadyServer):
    """Ends when that is asked for, unless it was told not to hear it."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.child.config["behaviour"] != "deaf":
            super().handle_exit(sig, frame)


def main() -> None:
    """Answer until the parent is gone."""
    child = Child(at_end=lambda: None if child.config["behaviour"] == "deaf" else os._exit(0))
    wrong: str = child.config["behaviour"]
    behaviour = Behaviour(**child.config["options"])
    time.sleep(behaviour.ready_delay_s)
    before_it_answers(child, wrong)
    try:
        listener = child.listen(backlog=2048)
    except OSError as exc:
        child.failed(str(exc))
    app = EchoApp(child.config["model"], child.secret, behaviour)
    config = uvicorn.Config(
        within_an_answer(app) if wrong == "dies_mid_stream" else app,
        http=CuttableProtocol,
        lifespan="off",
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_keep_alive=KEEPALIVE_S,
    )
    uvloop.run(EchoServer(config, child).serve([listener]))
    os._exit(0)


if __name__ == "__main__":
    main()
