"""The client that is awaited: for servers, and for many runs at once."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, contextmanager, suppress
from types import TracebackType
from typing import Any

import httpx2

from changeover.client import wire
from changeover.client.failures import ClientError
from changeover.client.values import Event, Job, Progress, Result, Tool


class AsyncClient:
    """`Client`, awaited: the same names, the same arguments, the same errors."""

    def __init__(self, url: str | None = None, key: str | None = None, *, silence_s: float = wire.SILENCE_S) -> None:
        self._http = httpx2.AsyncClient(**wire.settings(url, key, silence_s))
        self._headers: dict[str, str] = {}

    def with_key(self, key: str) -> AsyncClient:
        """The same connections, as somebody else. Closing one closes the other.

        Raises:
            ConfigError: It cannot be a key.
        """
        other = copy.copy(self)
        other._headers = wire.as_key(key)
        return other

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of its connections."""
        await self._http.aclose()

    async def tools(self) -> list[Tool]:
        """Every tool that this key may use."""
        return wire.read_tools(await self._send(wire.list_tools()))

    async def tool(self, name: str) -> Tool:
        """One of them."""
        return wire.read(await self._send(wire.one_tool(name)), Tool)

    async def run(self, name: str, /, **inputs: Any) -> Result:
        """Run a tool to its end: see `Client.run`."""
        return wire.read(await self._send(wire.run_tool(name, inputs, "result")), Result)

    def stream(self, name: str, /, **inputs: Any) -> AsyncGenerator[Event]:
        """Run a tool and tell what happens: see `Client.stream`."""
        return self._events(wire.run_tool(name, inputs, "stream"))

    async def submit(self, name: str, /, **inputs: Any) -> Job:
        """Begin a run that goes on without its caller. Whoever is cancelled while it is sent leaves none behind."""
        sending = asyncio.create_task(self._send(wire.run_tool(name, inputs, "job")))
        try:
            return wire.read(await asyncio.shield(sending), Job)
        except asyncio.CancelledError:
            with suppress(ClientError):  # there is no job, or it ends by itself
                await self.cancel(wire.read(await sending, Job).id)
            raise

    async def jobs(self) -> list[Job]:
        """This key's jobs, newest first, at most 100."""
        return wire.read_jobs(await self._send(wire.list_jobs()))

    async def job(self, id: str) -> Job:
        """How a job stands."""
        return wire.read(await self._send(wire.one_job(id)), Job)

    async def wait(self, id: str, on_progress: Callable[[Progress], Awaitable[None] | None] | None = None) -> Result:
        """Wait for a job: see `Client.wait`. `on_progress` may be awaited."""
        broken = 0
        while True:
            try:
                async with aclosing(self._events(wire.events_of(id))) as events:
                    async for event in events:
                        broken = 0
                        if isinstance(event, Progress) and on_progress is not None:
                            told = on_progress(event)
                            if told is not None:
                                await told
                        elif isinstance(event, Result):
                            return event
                result = wire.result_of(await self.job(id))
                if result is not None:
                    return result
            except ClientError as exc:
                broken += 1
                if broken >= wire.TRIES or not wire.goes_on(exc):
                    raise
            await asyncio.sleep(wire.BETWEEN_TRIES_S)

    async def cancel(self, id: str) -> None:
        """Cancel a job, or delete one that has ended, with its result."""
        wire.check(await self._send(wire.end_job(id)))

    async def _send(self, ask: wire.Ask) -> httpx2.Response:
        method, path, options = self._as_its_key(ask)
        with self._reported():
            return await self._http.request(method, path, **options)

    async def _events(self, ask: wire.Ask) -> AsyncGenerator[Event]:
        method, path, options = self._as_its_key(ask)
        with self._reported():
            async with self._http.stream(method, path, **options) as response:
                if response.is_error:
                    await response.aread()
                    wire.check(response)
                async for event in httpx2.EventSource(response, wire.MOST_EVENT_BYTES):
                    said = wire.read_event(event.event, event.data)
                    if said is not None:
                        yield said

    def _as_its_key(self, ask: wire.Ask) -> wire.Ask:
        method, path, options = ask
        return method, path, {**options, "headers": {**options.get("headers", {}), **self._headers}}

    @contextmanager
    def _reported(self) -> Generator[None]:
        try:
            yield
        except httpx2.HTTPError as exc:
            raise wire.broken(exc, self._http.base_url) from exc
