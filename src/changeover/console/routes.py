"""Every page there is, and who may open it. What is not in a table of these does not exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from changeover.console.people import Right
from changeover.console.visit import Visit

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

    def route(self) -> Route:
        """It as the application's router takes it."""

        async def guarded(request: Request) -> Response:
            visit = Visit.of(request)
            visit.require(self.right)
            if not self.everywhere:
                await visit.come_in()
            return await self.endpoint(visit)

        return Route(self.path, guarded, methods=list(self.methods), name=self.path)
