"""Tasks whose engines fail, and what is left behind after they did."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from tests.support.projects import Running

from changeover.app.deploy import declared_variant
from changeover.rollouts.actions import By, plan_of, start
from changeover.serving.queries import keep_variant
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import recent_exchanges

ONE_STEP = "[[steps]]\ncanary = 0.9999999\nrequests = 1000000\nhold_s = 0\n[guard]\ntolerated_failures = 0.999\n"


def fault_task(project: Path, name: str, keys: Mapping[str, Any], echo: Mapping[str, Any] | None = None) -> None:
    """Declare a task like `echo`, with other keys and with options of its engine; its canary goes on for ever."""
    lines = [
        line
        for line in (project / "tasks" / "echo.toml").read_text().partition("[[steps]]")[0].splitlines()
        if line.partition(" = ")[0] not in keys
    ]
    top = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    table = ["[echo]", *(f"{key} = {json.dumps(value)}" for key, value in echo.items())] if echo else []
    (project / "tasks" / f"{name}.toml").write_text("\n".join([*top, *lines, *table, ONE_STEP]))


@dataclass(frozen=True)
class Engine:
    """An echo engine, asked for its counters."""

    up: Running
    deployment: str

    async def counters(self) -> dict[str, int]:
        upstream = self.up.system.fleet.upstream(self.deployment)
        assert upstream is not None, f"{self.deployment} is not ready"
        async with upstream.send("/v1/echo/counters", b"{}", first_byte_s=10, stall_s=10) as answer:
            return json.loads(await answer.read())


async def engine(up: Running, deployment: str) -> Engine:
    await up.ready(deployment)
    return Engine(up, deployment)


async def calm(up: Running, *deployments: str) -> dict[str, int]:
    """Wait until nothing is under way, at these engines and at the door; gives the first one's counters."""
    engines = [await engine(up, name) for name in deployments]
    async with asyncio.timeout(10):
        while True:
            counters = [await each.counters() for each in engines]
            flights = [up.system.fleet.upstream(name) for name in deployments]
            busy = sum(each["active"] for each in counters) + sum(each.in_flight for each in flights if each)
            if not busy and not await _in_flight(up):
                return counters[0]
            await asyncio.sleep(0.05)


async def _in_flight(up: Running) -> int:
    url = f"{up.address}/healthz"
    async with aiohttp.ClientSession() as http, http.get(url, headers=up.headers(up.operator)) as response:
        return (await response.json())["in_flight"]


def tasks_running() -> Counter[str]:
    """Tasks of this event loop, in which the system runs too, by what they do; not those of clients."""
    names = (getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
    return Counter(name for name in names if not name.startswith("test_"))


async def recorded(up: Running, task: str, since: datetime) -> list[Exchange]:
    """The exchanges of a task that began since then, once there is one; newest first."""
    async with asyncio.timeout(10):
        while not _rows(up, task, since):
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.15)  # a second record of the same request would be here by now
    return _rows(up, task, since)


def _rows(up: Running, task: str, since: datetime) -> list[Exchange]:
    with up.installation.store.read() as connection:
        return [row for row in recent_exchanges(connection, task, limit=1000) if row.started_at >= since]


async def canary(up: Running, task: str, deployment: str) -> None:
    """Let a deployment answer nearly all of a task, and wait until the gateway follows."""
    variant = declared_variant(up.installation, task, deployment)
    by = By(actor="test", reason="test", now=up.installation.clock.now())
    with up.installation.store.write() as connection:
        keep_variant(connection, variant, by.now)
        start(connection, variant, plan_of(up.installation.tasks[task].declared), None, by)
    async with asyncio.timeout(5):
        while up.system.snapshot.tasks[task].route.candidate != variant.id:
            await asyncio.sleep(0.02)
