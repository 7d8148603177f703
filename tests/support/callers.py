"""Applications that ask a running system, each time as another user, and what they saw."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from tests.support.projects import Running

from changeover.rollouts.actions import By, plan_of, start
from changeover.rollouts.decide import Plan, Rollout, State
from changeover.rollouts.queries import Event, find_rollout, rollout_history
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant
from changeover.tasks.queries import route_history
from changeover.tasks.routes import Route

PATIENCE_S = 60
"""For what takes a second or two on an idle machine."""


@dataclass
class Callers:
    """Those of one task."""

    up: Running
    task: str
    text: str = "one two three"
    statuses: list[int] = field(default_factory=list[int])
    cut: int = 0
    answered_by: list[str] = field(default_factory=list[str])
    _users: itertools.count[int] = field(default_factory=itertools.count)

    async def ask(self, count: int = 4, *, stream: bool = False) -> None:
        """So many at once."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(self.up.address, headers=self.up.headers(), timeout=timeout) as http:
            await asyncio.gather(*(self._ask(http, stream) for _ in range(count)))

    async def _ask(self, http: aiohttp.ClientSession, stream: bool) -> None:
        messages = [{"role": "user", "content": self.text}]
        asked = {"model": self.task, "messages": messages, "user": f"user {next(self._users)}", "stream": stream}
        async with http.post("/v1/chat/completions", json=asked) as response:
            text = await response.text()
            self.answered_by.append(response.headers.get("x-changeover-deployment", ""))
        self.statuses.append(response.status)
        self.cut += stream and not text.endswith("data: [DONE]\n\n")

    async def ask_until(self, condition: Callable[[], bool], *, at_once: int = 4) -> None:
        """Go on, whole and streamed in turn, until something is true."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await self.ask(at_once, stream=len(self.statuses) % 2 == 0)

    @asynccontextmanager
    async def asking(self) -> AsyncGenerator[None]:
        """Go on for the length of the block."""
        over = False
        going_on = asyncio.create_task(self.ask_until(lambda: over, at_once=2))
        try:
            yield
        finally:
            over = True
            await going_on

    def saw_no_error(self) -> None:
        assert self.statuses, "nobody asked"
        assert set(self.statuses) == {200}
        assert self.cut == 0

    async def begin(self, candidate: Variant, plan: Plan | None = None) -> Rollout:
        """Start a rollout that nobody measured, and wait until the gateway follows."""
        installation = self.up.installation
        by = By(actor="ana", reason="test", now=installation.clock.now())
        with installation.store.write() as connection:
            plan = plan or plan_of(installation.tasks[self.task].declared)
            rollout = start(connection, keep_variant(connection, candidate, by.now), plan, None, by)
        await self.followed()
        return rollout

    async def followed(self) -> None:
        """Wait until the gateway answers by the newest route."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.up.route(self.task) != self.routes()[0].revision:
                await asyncio.sleep(0.02)

    def state(self, rollout: Rollout) -> State:
        return self.now(rollout).state

    def now(self, rollout: Rollout) -> Rollout:
        with self.up.installation.store.read() as connection:
            found = find_rollout(connection, rollout.id)
        assert found is not None
        return found

    def events(self, rollout: Rollout) -> list[Event]:
        with self.up.installation.store.read() as connection:
            return rollout_history(connection, rollout.id)

    def routes(self) -> list[Route]:
        """Newest first."""
        with self.up.installation.store.read() as connection:
            return route_history(connection, self.task)

    async def are_answered_by(self, deployment: str) -> None:
        """One incumbent, no candidate, and the gateway answers by it."""
        await self.followed()
        snapshot = self.up.system.snapshot.tasks[self.task]
        assert snapshot.variants[snapshot.route.incumbent].deployment == deployment
        assert snapshot.route.candidate is None
        before = len(self.answered_by)
        await self.ask(4)
        assert set(self.answered_by[before:]) == {deployment}
