"""A rollout in its shadow step, whose candidate is a server of the test's, on a running system."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from tests.support.projects import Running, open_written, running

from changeover.app.deploy import declared_variant, deploy
from changeover.rollouts.actions import By, plan_of, start
from changeover.rollouts.decide import Rollout
from changeover.serving.first_answer import FIRST_WORDS
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import keep_variant
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import recent_exchanges

CHAT = "/v1/chat/completions"
PATIENCE_S = 60


def steps(share: float, at_once: int = 50, checks: str = "", scorers: str = "") -> str:
    """The declarations of a task whose rollouts stay in their shadow, however much fails there."""
    return (
        f"[[steps]]\nshadow = {share}\nrequests = 10_000\n[[steps]]\ncanary = 0.5\n"
        f"[shadow]\nat_once = {at_once}\nscorers = [{scorers}]\n[guard]\n"
        f"tolerated_failures = 0.999999\nchecks = [{checks}]\n"
    )


@dataclass
class Candidate:
    """A server that keeps what it is asked, and answers when and what it is told to."""

    address: str = ""
    reply: str = "from the candidate"
    status: int = 200
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    left: int = 0
    """Requests whose connection was closed before there was an answer."""

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["messages"] == FIRST_WORDS["messages"]:
            return self._said(body)  # what it is asked before it counts as one that answers, whatever it does later
        self.asked.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        if self.status != 200:
            return web.json_response({"error": {"message": "no"}}, status=self.status)
        return self._said(body)

    def _said(self, body: Mapping[str, Any]) -> web.Response:
        message = {"role": "assistant", "content": self.reply}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        return web.json_response(
            {"id": "x", "object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage}
        )

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": []})


@asynccontextmanager
async def candidate() -> AsyncGenerator[Candidate]:
    """The server, listening."""
    it = Candidate()
    it.may_answer.set()
    app = web.Application()
    app.router.add_post(CHAT, it.chat)
    app.router.add_get("/v1/models", it.models)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0][:2]
        it.address = f"http://{host}:{port}/v1"
        yield it
    finally:
        it.may_answer.set()
        await runner.cleanup()


@dataclass
class Story:
    """One running system with its rollout."""

    up: Running
    new: Candidate
    rollout: Rollout

    async def ask(self, text: str = "one two three", **fields: Any) -> tuple[str, str]:
        """Ask as an application; gives the request's id and the answer, which must be whole."""
        body = {"model": "echo", "messages": [{"role": "user", "content": text}], **fields}
        async with (
            aiohttp.ClientSession(self.up.address, headers=self.up.headers()) as http,
            http.post(CHAT, json=body) as response,
        ):
            said = await response.text()
            assert response.status == 200, said
            assert "from the candidate" not in said
            assert response.headers["x-changeover-deployment"] != "new"
            return response.headers["x-changeover-request-id"], said

    def rows(self) -> dict[str, Exchange]:
        """By the id of the request, or of what it copies: `shadow of …`."""
        with self.up.installation.store.read() as connection:
            found = recent_exchanges(connection, "echo", 1000)
        return {each.id if each.shadow_of is None else f"shadow of {each.shadow_of}": each for each in found}

    async def copy_of(self, id: str) -> Exchange:
        async with asyncio.timeout(PATIENCE_S):
            while f"shadow of {id}" not in self.rows():
                await asyncio.sleep(0.05)
        return self.rows()[f"shadow of {id}"]

    async def asked(self, count: int) -> None:
        """Wait until the candidate was asked so often."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.new.asked) < count:
                await asyncio.sleep(0.02)

    async def metric(self, line: str) -> float:
        async with (
            aiohttp.ClientSession(self.up.address, headers=self.up.headers(self.up.operator)) as http,
            http.get("/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        return next((float(each.rpartition(" ")[2]) for each in lines if each.rpartition(" ")[0] == line), 0.0)

    @property
    def under_way(self) -> int:
        return self.up.system.gateway.state()["shadows"]


@asynccontextmanager
async def told(directory: Path, *, incumbent: str = "echo", workers: int | None = None) -> AsyncGenerator[Story]:
    """A rollout in its shadow step, whose candidate is a server of the test's."""
    async with candidate() as new, running(open_written(directory), workers=workers) as up:
        await up.ready(incumbent)
        yield Story(up, new, await begun(up, new))


async def begun(up: Running, new: Candidate) -> Rollout:
    """Start the rollout, and wait until the gateway follows."""
    installation = up.installation
    plan = EnginePlan(deployment="new", backend="openai", model="new-model", options={"base_url": new.address})
    deploy(installation, plan, "test")
    variant = declared_variant(installation, "echo", "new")
    by = By(actor="test", reason="test", now=installation.clock.now())
    await up.ready("new")
    with installation.store.write() as connection:
        keep_variant(connection, variant, by.now)
        rollout = start(connection, variant, plan_of(installation.tasks["echo"].declared), None, by)
    async with asyncio.timeout(PATIENCE_S):
        while (await up.route()) < 2:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)  # workers follow by themselves
    return rollout
