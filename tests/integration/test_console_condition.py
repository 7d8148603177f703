"""Every page says how the gateway is doing, and goes on as far as it can while something is away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import httpx2
from tests.support import console
from tests.support.projects import Running, open_written, running, write_project

from changeover.app.local import announced
from changeover.console.condition import Watch
from changeover.gateway.keys import issue_key

CUT_OFF = "The gateway cannot reach its store"


async def until_stale(up: Running, http: aiohttp.ClientSession, *, stale: bool) -> None:
    async with asyncio.timeout(20):
        while True:
            async with http.get("/healthz", headers=up.headers(up.operator)) as response:
                if (await response.json())["store_stale"] is stale:
                    return
            await asyncio.sleep(0.05)


async def said(somebody: httpx2.AsyncClient, path: str) -> tuple[int, str]:
    answer = await somebody.get(path)
    return answer.status_code, answer.text


async def test_pages_say_that_the_gateway_is_cut_off_from_its_store_does_not_answer_or_does_not_run(
    tmp_path: Path,
) -> None:
    installation = open_written(write_project(tmp_path / "project"))
    with installation.store.write() as connection:
        key = issue_key(connection, name="ana", role="admin", now=installation.clock.now())
    database = installation.project.state / "changeover.db"
    hidden = database.with_suffix(".hidden")
    busy = console.over(tmp_path / "project", admin=key)
    desk = busy.app.state.desk
    busy.app.state.watch = Watch(desk.gateway, desk, look_s=0.0)
    async with busy.signed_in("admin") as ana:
        async with running(installation) as up, aiohttp.ClientSession(up.address) as http:
            await up.ready("echo")
            status, page = await said(ana, "/tasks")
            assert (status, "does not run" in page, CUT_OFF in page) == (200, False, False)
            for store in (installation.store, busy.installation.store):
                store.engine.dispose()
            database.rename(hidden)
            database.mkdir()
            try:
                await until_stale(up, http, stale=True)
                status, page = await said(ana, "/playground")
                assert (status, CUT_OFF in page) == (200, True), "tasks are asked meanwhile"
                status, page = await said(ana, "/tasks")
                assert (status, CUT_OFF in page) == (503, True), "what needs the store says so"
            finally:
                database.rmdir()
                hidden.rename(database)
            await until_stale(up, http, stale=False)
            assert CUT_OFF not in (await said(ana, "/tasks"))[1]
        status, page = await said(ana, "/tasks")
        assert (status, "The gateway does not run" in page) == (200, True)
        with announced(busy.directory / ".changeover", "http://127.0.0.1:9"):
            status, page = await said(ana, "/tasks")
        assert (status, "does not answer at" in page) == (200, True)
        assert "<code>http://127.0.0.1:9</code>" in page
    await console.closed(busy)
