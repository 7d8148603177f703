"""Who is signed in: a key of the installation, held in this process, and a cookie that stands for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import compare_digest
from typing import Any

from changeover.client import AsyncClient, Tool
from changeover.core.clock import Clock
from changeover.core.ids import new_secret

LIFE_S = 12 * 3600.0
"""After so long without a page one has to sign in again."""
MOST_SESSIONS = 1_000
MOST_MESSAGES = 60
"""Of one conversation; the oldest go."""


@dataclass
class Session:
    """One browser of somebody who signed in."""

    client: AsyncClient
    """Asks with the rights of their key."""
    csrf: str
    """Stands in every form; who does not know it comes from another site."""
    seen: float
    """Monotonic, seconds."""
    chats: dict[str, list[dict[str, str]]] = field(default_factory=dict[str, list[dict[str, str]]])
    """By tool: the conversation so far."""
    beside: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By tool: what else was given with its last message, but no files."""

    def came_from_us(self, token: object) -> bool:
        """Whether a form was one of ours."""
        return isinstance(token, str) and compare_digest(token.encode(), self.csrf.encode())

    def remember(self, tool: Tool, *messages: tuple[str, str], beside: Mapping[str, Any]) -> None:
        """Add to a conversation what was said: role and content. Of what was given `beside` it, files are not kept."""
        self.beside[tool.name] = {name: value for name, value in beside.items() if isinstance(value, str | bool)}
        said = [{"role": role, "content": content} for role, content in messages]
        self.chats[tool.name] = tool.recent([*self.chats.get(tool.name, []), *said][-MOST_MESSAGES:])


class Sessions:
    """All who are signed in. They end with this process: a key is written nowhere."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._known: dict[str, Session] = {}
        """By the digest of the cookie."""

    async def begin(self, key: str) -> str:
        """Sign in; gives the cookie.

        Raises:
            ClientError: The gateway does not know the key, or is not there.
        """
        client = AsyncClient(self._url, key)
        try:
            await client.tools()
        except BaseException:
            await client.close()
            raise
        await self._forget_old()
        cookie = new_secret("session")
        self._known[_place(cookie)] = Session(client=client, csrf=new_secret("form"), seen=self._clock.monotonic())
        return cookie

    def find(self, cookie: str | None) -> Session | None:
        """Who a cookie stands for; None: nobody, or it is too old."""
        session = None if cookie is None else self._known.get(_place(cookie))
        now = self._clock.monotonic()
        if session is None or now - session.seen > LIFE_S:
            return None
        session.seen = now
        return session

    async def end(self, cookie: str | None) -> None:
        """Sign out."""
        session = None if cookie is None else self._known.pop(_place(cookie), None)
        if session is not None:
            await session.client.close()

    async def close(self) -> None:
        """Sign everybody out."""
        while self._known:
            await self._known.popitem()[1].client.close()

    async def _forget_old(self) -> None:
        now = self._clock.monotonic()
        by_age = sorted(self._known.items(), key=lambda each: each[1].seen)
        old = [place for place, session in by_age if now - session.seen > LIFE_S]
        old += [place for place, _ in by_age[: max(0, len(by_age) - len(old) - MOST_SESSIONS + 1)] if place not in old]
        for place in old:
            forgotten = self._known.pop(place, None)
            if forgotten is not None:  # else by another who signs in at this moment
                await forgotten.client.close()


def _place(cookie: str) -> str:
    return sha256(cookie.encode()).hexdigest()
