"""The front of an engine that has no server, or none that could be used: takes HTTP and hands it to a worker.

It runs in our own environment and its worker in the engine's. Two processes, because an engine may hold Python's lock for as
long as it computes: the front answers looks at its health meanwhile, and hears that a caller has left.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import uvicorn
import uvloop

from changeover.serving.engines.child import Child
from changeover.serving.engines.front_app import FrontApp
from changeover.serving.engines.front_asked import Skills
from changeover.serving.engines.front_worker import StartError, Worker, WorkerProcess
from changeover.serving.engines.ready_server import ReadyServer

KEEPALIVE_S = 75


def main() -> None:
    """Answer until the parent, or the worker, is gone."""
    child = Child()
    try:
        process = WorkerProcess(child.config["argv"], child.config["worker"])
        listener = child.listen(backlog=2048)
    except (StartError, OSError) as exc:
        child.failed(str(exc))
    worker = Worker(process)
    config = uvicorn.Config(
        FrontApp(child.config["deployment"], child.secret, Skills(**child.config["skills"]), worker),
        lifespan="off",
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_keep_alive=KEEPALIVE_S,
    )
    uvloop.run(_serve(ReadyServer(config, child, process.note), worker, listener))
    os._exit(0)


async def _serve(server: ReadyServer, worker: Worker, listener: socket.socket) -> None:
    listening = asyncio.create_task(worker.listen())
    serving = asyncio.create_task(server.serve([listener]))
    await asyncio.wait({listening, serving}, return_when=asyncio.FIRST_COMPLETED)
    if listening.done():
        print(listening.result(), file=sys.stderr, flush=True)
        os._exit(1)  # another one is started in its place


if __name__ == "__main__":
    main()
