"""Runs of tools in this process, whoever asked for them: how many at once, for how long, and what is counted of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from changeover.core.clock import Clock
from changeover.core.errors import CapacityError, ChangeoverError
from changeover.gateway.admit import Admission
from changeover.gateway.door import Door
from changeover.gateway.http import Headers
from changeover.gateway.keys import Key
from changeover.tasks.declarations import Task
from changeover.tools.calls import DoorCaller
from changeover.tools.declarations import Tool
from changeover.tools.documents.reader import Reader
from changeover.tools.means import Journal, Means, NoJournal
from changeover.tools.runner import run_tool
from changeover.tools.values import Outcome, Progress

PAUSE_S = 0.2
"""Between two looks for a place of one that can wait."""


class Told(Protocol):
    """Counts runs that have ended."""

    def __call__(self, tool: str, outcome: str, seconds: float, /) -> None:
        """Count one."""
        ...


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One run."""

    id: str
    tool: Tool
    given: Mapping[str, Any]
    """JSON values and files, as they came."""
    key: str
    """Id of the key that it is run with."""
    on_progress: Callable[[Progress], None]
    stream: bool = False
    journal: Journal = field(default_factory=NoJournal)
    patient: bool = False
    """It waits where a limit or an engine lets it wait: nobody stands at it."""
    headers: Headers = ()
    """Of the request, for traces."""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Runs tools."""

    door: Door
    reader: Reader
    tasks: Callable[[], Mapping[str, Task]]
    """As they were applied."""
    key: Callable[[str], Key | None]
    """A key as it is now, by its id; None of one that may not be used any more."""
    cache: Path
    places: Admission
    told: Told
    clock: Clock
    pool: Executor
    """Threads that compute."""

    @property
    def under_way(self) -> int:
        return self.places.in_flight

    async def close(self) -> None:
        """End what reads and computes for runs."""
        await self.reader.close()
        self.pool.shutdown(wait=False, cancel_futures=True)

    async def run(self, asked: Asked) -> Outcome:
        """Run a tool.

        Raises:
            CapacityError: Too many run already.
            ChangeoverError: As `run_tool` says.
        """
        while not self._entered(asked):  # noqa: ASYNC110 - places tell nobody
            await asyncio.sleep(PAUSE_S)
        started, outcome = self.clock.monotonic(), "gateway_error"
        try:
            said = await self._run(asked)
            outcome = "ok"
            return said
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except ChangeoverError as error:
            outcome = outcome_of(error)
            raise
        finally:
            self.places.leave(asked.key)
            self.told(asked.tool.name, outcome, self.clock.monotonic() - started)

    def _entered(self, asked: Asked) -> bool:
        """Take a place. False: there is none for now, and who asked can wait."""
        try:
            self.places.enter(asked.key)
        except CapacityError as full:
            if asked.patient:
                return False
            raise CapacityError(
                f"{self.places.in_flight} tools are running here already. Try again in a few seconds, or send it as a "
                "job, which waits for its turn: `?as=job`.",
                retry_after_s=2,
            ) from full
        return True

    async def _run(self, asked: Asked) -> Outcome:
        caller = DoorCaller(
            door=self.door,
            key=lambda: self.key(asked.key),
            run=asked.id,
            clock=self.clock,
            headers=asked.headers,
            patient=asked.patient,
        )
        means = Means(
            caller=caller,
            reader=self.reader,
            tasks=self.tasks(),
            cache=self.cache,
            journal=asked.journal,
            pool=self.pool,
        )
        return await run_tool(asked.tool, asked.given, means, on_progress=asked.on_progress, stream=asked.stream)


def outcome_of(error: ChangeoverError) -> str:
    """How a run ended that failed, in one word; as of requests."""
    if error.source == "model":
        return "model_error"
    return "request_error" if error.status < 500 else "gateway_error"


def result_of(id: str, outcome: Outcome) -> dict[str, Any]:
    """What a run gave, as the API shows it."""
    return {"object": "tool.result", "id": id, **msgspec.to_builtins(outcome)}
