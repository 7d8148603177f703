"""A server of ours in an engine's process: says that it is ready once it really listens, and not before."""

from __future__ import annotations

import socket

import uvicorn

from changeover.serving.engines.child import Child


class ReadyServer(uvicorn.Server):
    """Reports to the parent when it listens, after it has lost its rights."""

    def __init__(self, config: uvicorn.Config, child: Child, note: str | None = None) -> None:
        super().__init__(config)
        self.child = child
        self._note = note

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets
        # Everything is imported by now; nobody may not be allowed to read where the modules are.
        note = self.child.drop_rights()
        port = 0 if self.child.config.get("socket") else sockets[0].getsockname()[1]
        self.child.ready(port, note or self._note)
