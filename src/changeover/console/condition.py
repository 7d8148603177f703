"""How the gateway is doing, in a line at the head of every page: not there, not answering, or cut off from its store."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from changeover.app.health import gateway_state
from changeover.console.desk import Desk, Gateway
from changeover.core.threads import in_thread

LOOK_S = 3.0
"""It is asked no more often."""
WAIT_S = 0.25
"""A page waits no longer for what it says; the next one has it."""
ANSWER_S = 2.0
"""A gateway that says nothing for so long does not answer."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What is wrong with it."""

    kind: Literal["not running", "unreachable", "stale"]
    """`stale`: its store is away, and it answers by what it read last."""
    address: str = ""
    since: datetime | None = None


NOT_RUNNING = Condition(kind="not running")


class Watch:
    """Looks after the gateway as pages are asked for. One for the process."""

    def __init__(self, gateway: Gateway, desk: Desk | None, look_s: float = LOOK_S) -> None:
        self._gateway = gateway
        self._desk = desk
        self._look_s = look_s
        self._looked = -look_s
        self._looking: asyncio.Task[None] | None = None
        self.seen: Condition | None = None
        """None: nothing is wrong with it, as far as is known."""

    async def keep_up(self, key: str | None) -> None:
        """Look again if the last look is old, and never long.

        Args:
            key: Of whoever asks for a page, where there is no project with a key of its own.
        """
        address = self._gateway()
        if address is None:
            self.seen = NOT_RUNNING
            return
        if time.monotonic() - self._looked < self._look_s and self.seen is not NOT_RUNNING:
            return
        self._looked = time.monotonic()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(address, key))
        await asyncio.wait({self._looking}, timeout=WAIT_S)

    async def close(self) -> None:
        """Wait for a look that is under way."""
        if self._looking is not None:
            await asyncio.wait({self._looking})

    async def _look(self, address: str, key: str | None) -> None:
        own = key if self._desk is None else await in_thread(self._desk.key)
        said = await in_thread(lambda: gateway_state(address, own, ANSWER_S))
        if said is None:
            self.seen = Condition(kind="unreachable", address=address)
        elif said.get("store_stale"):
            self.seen = Condition(kind="stale", since=_moment(said.get("store_stale_since")))
        else:
            self.seen = None


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
