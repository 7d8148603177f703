"""The console over a small busy installation, without a socket: pages as whoever holds a key of a role gets them.

The installation of `benchmarks.console.busy` is made once for a whole run of the tests, whichever process needs it first;
each module that takes `busy_console` (tests/integration/conftest.py) gets a copy that it may change.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from benchmarks.console.busy import make
from starlette.applications import Starlette

from changeover.app.asgi import serving
from changeover.app.installation import Installation, open_installation
from changeover.app.listening import address_of, listen
from changeover.app.local import running_address
from changeover.console.app import console
from changeover.console.desk import Desk
from changeover.core.hosts import LOOPBACK
from changeover.core.settings import open_project

HOST = "console.test"
TASKS, EXCHANGES, RUNS = 10, 600, 12
"""Of the small busy installation: one task of every state that a rollout may be in."""
MOST_BODY = 1 << 20


@dataclass(frozen=True)
class BusyConsole:
    """A console over a project's copy, and keys to sign in with."""

    directory: Path
    installation: Installation
    app: Starlette
    keys: Mapping[str, str] = field(repr=False)
    """Secrets by role: application, viewer, operator, approver, admin."""

    @asynccontextmanager
    async def signed_in(self, role: str | None = "admin", language: str = "en") -> AsyncGenerator[httpx2.AsyncClient]:
        """A browser of somebody with a key of a role; None: of a stranger."""
        transport = httpx2.ASGITransport(app=self.app)
        said = {"accept-language": language}
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{HOST}", headers=said) as client:
            if role is not None:
                answer = await client.post("/sign-in", data={"key": self.keys[role]})
                assert answer.status_code == 303, answer.text
            yield client

    @asynccontextmanager
    async def served(self) -> AsyncGenerator[str]:
        """Its address, for a browser; the same pages and sessions, on a port of this machine."""
        listener = listen("127.0.0.1", 0)
        listening = asyncio.Event()
        server = serving(self.app, listening.set, drain_s=1)
        served = asyncio.create_task(server.serve([listener]))
        await listening.wait()
        try:
            yield address_of(listener)
        finally:
            server.stop()
            await served
            listener.close()

    async def send(self, client: httpx2.AsyncClient, path: str, **fields: str) -> httpx2.Response:
        """Send a form as a page of this session would, without following where it leads."""
        session = self.app.state.sessions.find(client.cookies.get(self.app.state.cookie))
        assert session is not None
        return await client.post(path, data={"csrf": session.csrf, **fields})


def over(directory: Path, **keys: str) -> BusyConsole:
    """A console over a project that was started before; see `closed`."""
    installation = open_installation(open_project(directory))
    desk = Desk(installation)
    app = console(desk.gateway, hosts=(HOST, *LOOPBACK), most_body_bytes=MOST_BODY, desk=desk)
    return BusyConsole(directory, installation, app, keys)


async def closed(busy: BusyConsole) -> None:
    """End what is measured, sign everybody out, and close the store."""
    busy.app.state.desk.close()
    await busy.app.state.sessions.close()
    busy.installation.store.close()


def busy_copy(run: Path, directory: Path) -> dict[str, str]:
    """Copy the small busy installation, which is made where no process of this run of the tests has; its keys.

    Args:
        run: A directory that all processes of the run share.
        directory: Where the copy shall be; not there yet.
    """
    seed = run / "busy"
    with (run / "busy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (seed / ".changeover" / "keys.json").exists():
            shutil.rmtree(seed, ignore_errors=True)
            make(seed, tasks=TASKS, exchanges=EXCHANGES, runs=RUNS).store.close()
    shutil.copytree(seed, directory)
    assert running_address(directory / ".changeover") is None, "it is not served by anything"
    return secrets_of(directory)


def secrets_of(directory: Path) -> dict[str, str]:
    """A secret of a key of each role, of a busy installation."""
    keys: dict[str, Any] = json.loads((directory / ".changeover" / "keys.json").read_text(encoding="utf-8"))
    return {role: str(secret) for role, secret in keys.items()}
