"""Who is signed in: a key of the installation, held in this process, and a cookie that stands for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import compare_digest
from typing import Any

from changeover.client import AsyncClient, Tool
from changeover.console.desk import Desk, Gateway
from changeover.console.people import Person
from changeover.core.clock import Clock
from changeover.core.errors import AuthenticationError, NotReadyError
from changeover.core.ids import new_secret
from changeover.core.threads import in_thread
from changeover.gateway.keys import Key, Keyring

LIFE_S = 12 * 3600.0
"""After so long without a page one has to sign in again."""
MOST_SESSIONS = 1_000
MOST_MESSAGES = 60
"""Of one conversation; the oldest go."""


class Callers:
    """Clients of the gateway with one key: it may be started anew, at another address."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        self._gateway = gateway
        self._key = key
        self._by_address: dict[str, AsyncClient] = {}

    def client(self) -> AsyncClient:
        """The one of the gateway that runs.

        Raises:
            NotReadyError: None does.
        """
        address = self._gateway()
        if address is None:
            raise NotReadyError("The gateway does not run, so that nothing can be asked. Start it: `changeover up`.")
        if address not in self._by_address:
            self._by_address[address] = AsyncClient(address, self._key)
        return self._by_address[address]

    async def close(self) -> None:
        while self._by_address:
            await self._by_address.popitem()[1].close()


@dataclass
class Session:
    """One browser of somebody who signed in."""

    person: Person
    callers: Callers
    """Call the gateway with the rights of their key."""
    csrf: str
    """Stands in every form; who does not know it comes from another site."""
    seen: float
    """Monotonic, seconds."""
    chats: dict[str, list[dict[str, str]]] = field(default_factory=dict[str, list[dict[str, str]]])
    """By tool: the conversation so far."""
    beside: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By tool: what else was given with its last message, but no files."""
    told: str | None = None
    """What the next page says at its head: what the last form did."""

    @property
    def client(self) -> AsyncClient:
        """A client of the gateway, wherever it listens now.

        Raises:
            NotReadyError: It does not run.
        """
        return self.callers.client()

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

    def __init__(self, gateway: Gateway, clock: Clock, desk: Desk | None = None) -> None:
        self._gateway = gateway
        self._clock = clock
        self._desk = desk
        self._known: dict[str, Session] = {}
        """By the digest of the cookie."""

    async def begin(self, key: str) -> str:
        """Sign in; gives the cookie.

        Raises:
            ConfigError: It cannot be a key.
            AuthenticationError: It is none of this installation, or not any more.
            ClientError: The gateway does not know the key, or is not there.
        """
        callers = Callers(self._gateway, key)
        try:
            person = await self._who(key, callers)
        except BaseException:
            await callers.close()
            raise
        await self._forget_old()
        cookie = new_secret("session")
        self._known[_place(cookie)] = Session(
            person=person, callers=callers, csrf=new_secret("form"), seen=self._clock.monotonic()
        )
        return cookie

    async def _who(self, key: str, callers: Callers) -> Person:
        """By the project's own store where there is one; else the gateway says whether it knows the key."""
        if self._desk is None:
            await callers.client().tools()
            return Person(name="", actor="key", role="application")
        installation = await self._desk.now()
        keyring = Keyring()
        await in_thread(lambda: keyring.reload(installation.store))
        found = keyring.find(key.encode())
        if found is None or (found.expires_at is not None and found.expires_at <= installation.clock.now()):
            raise AuthenticationError("This is no key of this installation, or not any more: `changeover key list`.")
        return person_of(found)

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
            await session.callers.close()

    async def close(self) -> None:
        """Sign everybody out."""
        while self._known:
            await self._known.popitem()[1].callers.close()

    async def _forget_old(self) -> None:
        now = self._clock.monotonic()
        by_age = sorted(self._known.items(), key=lambda each: each[1].seen)
        old = [place for place, session in by_age if now - session.seen > LIFE_S]
        old += [place for place, _ in by_age[: max(0, len(by_age) - len(old) - MOST_SESSIONS + 1)] if place not in old]
        for place in old:
            forgotten = self._known.pop(place, None)
            if forgotten is not None:  # else by another who signs in at this moment
                await forgotten.callers.close()


def person_of(key: Key) -> Person:
    """Whoever holds a key."""
    return Person(name=key.name, actor=f"key:{key.name}", role=key.role, tasks=key.tasks)


def _place(cookie: str) -> str:
    return sha256(cookie.encode()).hexdigest()
