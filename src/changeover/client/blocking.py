"""The client that waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import httpx2

from changeover.client import wire
from changeover.client.failures import ClientError
from changeover.client.values import Event, Job, Progress, Result, Tool


class Client:
    """Calls the tools of a gateway. May be used by several threads at once.

    Args:
        url: Where the gateway listens; else `CHANGEOVER_URL`.
        key: Whose rights, limits and usage it is; else `CHANGEOVER_KEY`.
        silence_s: How long a run may say nothing.

    Raises:
        ConfigError: Neither is given.
    """

    def __init__(self, url: str | None = None, key: str | None = None, *, silence_s: float = wire.SILENCE_S) -> None:
        self._http = httpx2.Client(**wire.settings(url, key, silence_s))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of its connections."""
        self._http.close()

    def tools(self) -> list[Tool]:
        """Every tool that this key may use."""
        return wire.read_tools(self._send(wire.list_tools()))

    def tool(self, name: str) -> Tool:
        """One of them."""
        return wire.read(self._send(wire.one_tool(name)), Tool)

    def run(self, name: str, /, **inputs: Any) -> Result:
        """Run a tool to its end. A `Path`, a `File` and an open file are files.

        Raises:
            ToolFailed: It was refused, or failed.
            Unreachable: The gateway was not there, or went.
        """
        return wire.read(self._send(wire.run_tool(name, inputs, "result")), Result)

    def stream(self, name: str, /, **inputs: Any) -> Generator[Event]:
        """Run a tool and tell what happens: progress, pieces of its answer, the result. Leaving it cancels the run."""
        return self._events(wire.run_tool(name, inputs, "stream"))

    def submit(self, name: str, /, **inputs: Any) -> Job:
        """Begin a run that goes on without its caller."""
        return wire.read(self._send(wire.run_tool(name, inputs, "job")), Job)

    def jobs(self) -> list[Job]:
        """This key's jobs, newest first, at most 100."""
        return wire.read_jobs(self._send(wire.list_jobs()))

    def job(self, id: str) -> Job:
        """How a job stands."""
        return wire.read(self._send(wire.one_job(id)), Job)

    def wait(self, id: str, on_progress: Callable[[Progress], None] | None = None) -> Result:
        """Wait for a job, also over a gateway that is gone for a while.

        Raises:
            ToolFailed: It failed.
            JobCancelled: It was cancelled.
            Unreachable: The gateway did not come back.
        """
        broken = 0
        while True:
            try:
                for event in self._events(wire.events_of(id)):
                    broken = 0
                    if isinstance(event, Progress) and on_progress is not None:
                        on_progress(event)
                    elif isinstance(event, Result):
                        return event
                result = wire.result_of(self.job(id))
                if result is not None:
                    return result
            except ClientError as exc:
                broken += 1
                if broken >= wire.TRIES or not wire.goes_on(exc):
                    raise
            time.sleep(wire.BETWEEN_TRIES_S)

    def cancel(self, id: str) -> None:
        """Cancel a job, or delete one that has ended, with its result."""
        wire.check(self._send(wire.end_job(id)))

    def _send(self, ask: wire.Ask) -> httpx2.Response:
        method, path, options = ask
        with self._reported():
            return self._http.request(method, path, **options)

    def _events(self, ask: wire.Ask) -> Generator[Event]:
        method, path, options = ask
        with self._reported(), self._http.stream(method, path, **options) as response:
            if response.is_error:
                response.read()
                wire.check(response)
            for event in httpx2.EventSource(response, wire.MOST_EVENT_BYTES):
                said = wire.read_event(event.event, event.data)
                if said is not None:
                    yield said

    @contextmanager
    def _reported(self) -> Generator[None]:
        try:
            yield
        except httpx2.HTTPError as exc:
            raise wire.broken(exc, self._http.base_url) from exc
