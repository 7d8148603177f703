"""Every page there is, and who may open it. What is not in a table of these does not exist."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from changeover.console.people import Right
from changeover.console.sessions import KEYS_S, Session, Sessions
from changeover.console.visit import Visit
from changeover.core.errors import CapacityError

MOST_STREAMS = 50
"""Of one key or person, over all their browsers: each looks at the store once a second, for as long as it is open."""
Endpoint = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Page:
    """One address of the console, for those who are signed in and have the right."""

    path: str
    endpoint: Endpoint
    right: Right
    methods: tuple[str, ...] = ("GET",)
    everywhere: bool = False
    """Whether it needs a gateway only; others need the project itself."""
    whole: bool = False
    """Whether it concerns all tasks in one, so that who is limited to some is refused."""

    def route(self) -> Route:
        """It as the application's router takes it."""

        async def guarded(request: Request) -> Response:
            sessions: Sessions = request.app.state.sessions
            await sessions.keep_up()
            visit = Visit.of(request)
            visit.require(self.right)
            if self.whole:
                visit.require_whole()
            await request.app.state.watch.keep_up(visit.session.callers.key)
            if not self.everywhere:
                await visit.come_in()
            answer = await self.endpoint(visit)
            if isinstance(answer, StreamingResponse):
                if sessions.streams_of(visit.session.owner) >= MOST_STREAMS:
                    raise CapacityError(f"{MOST_STREAMS} pages listen for changes already. Close some.")
                answer.body_iterator = _while_signed_in(answer.body_iterator, sessions, visit.session)
            return answer

        return Route(self.path, guarded, methods=list(self.methods), name=self.path)


async def _while_signed_in(
    parts: AsyncIterable[Any], sessions: Sessions, session: Session
) -> AsyncGenerator[str | bytes | memoryview]:
    """What goes on for as long as the page is open, and no longer than whoever looks at it is signed in as they were.

    They are looked after while nothing comes, too: a page whose key was revoked does not stay open until something happens.
    """
    person = session.person
    session.streams += 1
    coming: asyncio.Task[Any] | None = None
    following = cast("AsyncGenerator[Any]", parts)
    try:
        while True:
            coming = coming or asyncio.create_task(_next(following))
            await asyncio.wait({coming}, timeout=KEYS_S)
            await sessions.keep_up()
            if not sessions.holds(session) or session.person != person:
                return
            if coming.done():
                part, coming = coming.result(), None
                if part is None:
                    return
                yield part
    finally:
        session.streams -= 1
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait({coming})
        await following.aclose()


async def _next(parts: AsyncGenerator[Any]) -> Any:
    """What comes next; None: nothing any more."""
    return await anext(parts, None)
