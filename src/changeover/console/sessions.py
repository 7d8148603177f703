"""Who is signed in: a key of the installation, held in this process, and a cookie that stands for it.

Whom an identity provider vouches for gets a key as well, made for the session and revoked with it: what they ask is counted,
limited and told like that of any key.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from hashlib import sha256
from secrets import compare_digest
from typing import Any

from changeover.client import AsyncClient, ClientError, Tool
from changeover.console.desk import Desk, Gateway
from changeover.console.oidc import Vouched
from changeover.console.people import VOUCHED, Person
from changeover.console.plays import Memory, Plays
from changeover.core.clock import Clock
from changeover.core.digest import sha256_text
from changeover.core.errors import AuthenticationError, NotReadyError, StoreError
from changeover.core.ids import new_secret
from changeover.core.secrets import forget_secret, register_secret
from changeover.core.threads import in_thread
from changeover.gateway.keys import Key, Keyring, issue_key, load_keys, revoke_expired, revoke_key
from changeover.rollouts.actions import LONGEST_NAME
from changeover.store.audit import note

log = logging.getLogger(__name__)

LIFE_S = 12 * 3600.0
"""After so long without a page one has to sign in again."""
KEYS_S = 1.0
"""Whose key was revoked is signed out after so long."""
FIND_S = 0.05
"""Keys are read no more often for those who come with unknown ones."""
TELL_S = 60.0
KNOWN_WITHIN_S = 5.0
ASK_AGAIN_S = 0.1
MOST_SESSIONS = 1_000
MOST_OF_A_KEY = 20
"""Sessions: whoever signs in with it once more ends their own oldest one, and nobody else's."""
MOST_MESSAGES = 60
"""Of one conversation; the oldest go."""
NOT_RUNNING = "The gateway does not run, so that nothing can be asked. Start it: `changeover up`."


class Callers:
    """Clients of the gateway with one key: it may be started anew, at another address."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        register_secret(key)
        self._gateway = gateway
        self._key = key
        self._by_address: dict[str, AsyncClient] = {}

    @property
    def key(self) -> str:
        """The secret itself."""
        return self._key

    def client(self) -> AsyncClient:
        """The one of the gateway that runs.

        Raises:
            NotReadyError: None does.
        """
        address, key = self.way()
        if address not in self._by_address:
            self._by_address[address] = AsyncClient(address, key)
        return self._by_address[address]

    def way(self) -> tuple[str, str]:
        """Address of the gateway that runs, and the key, for what the client does not do.

        Raises:
            NotReadyError: None runs.
        """
        address = self._gateway()
        if address is None:
            raise NotReadyError(NOT_RUNNING)
        return address, self._key

    async def close(self) -> None:
        """Let go of the gateway, and of the key; once."""
        forget_secret(self._key)
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
    plays: Plays
    """What was asked in the playground."""
    owner: str = ""
    """Whose it is: the same for all sessions of one key, or of one person."""
    key: str | None = None
    """Id of their key in the store; None: the console has no store."""
    ends: float | None = None
    """Monotonic: then it ends however much they do, and with it the key that was made for it; None: it lasts as their key."""
    chats: dict[str, list[dict[str, str]]] = field(default_factory=dict[str, list[dict[str, str]]])
    """By tool: the conversation so far."""
    beside: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By tool: what else was given with its last message, but no files."""
    streams: int = 0
    """Open pages that listen for changes."""
    told: str | None = None
    """What the next page says at its head: what the last form did."""

    @property
    def client(self) -> AsyncClient:
        """A client of the gateway, wherever it listens now.

        Raises:
            NotReadyError: It does not run.
        """
        return self.callers.client()

    async def close(self) -> None:
        """Let go of the gateway, and end what is asked of it."""
        await self.plays.close()
        await self.callers.close()

    def is_over(self, now: float) -> bool:
        """Whether it has lasted long enough, or nothing was heard of it for as long."""
        return now - self.seen > LIFE_S or (self.ends is not None and now >= self.ends)

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
        self._memory = Memory()
        self._looked = -KEYS_S
        self._keyring = Keyring()
        """By which somebody comes in."""
        self._finding = asyncio.Lock()
        self._found_at = -FIND_S
        self._strangers, self._told_at = 0, -TELL_S

    async def begin(self, key: str) -> str:
        """Sign in with a key; gives the cookie.

        Raises:
            ConfigError: It cannot be a key.
            AuthenticationError: It is none of this installation, or not any more.
            ClientError: The gateway does not know the key, or is not there.
        """
        if self._desk is None:
            person, owner, id = Person(name="", actor="key", role="application"), sha256_text(key), None
        else:
            found = await self._find(self._desk, key)
            person, owner, id = person_of(found), found.id, found.id
            await self._note(self._desk, person, "sign in", by="key")
        callers = Callers(self._gateway, key)
        try:
            if self._desk is None:
                await callers.client().tools()
            await _until_known(callers)
            return await self._open(Session(person, callers, owner=owner, key=id, **self._new()))
        except BaseException:
            await callers.close()
            raise

    async def welcome(self, vouched: Vouched) -> str:
        """Sign in somebody whom the identity provider vouches for; gives the cookie.

        Raises:
            StoreError: Their key cannot be made.
        """
        assert self._desk is not None, "the provider is named in a project"
        actor = f"{VOUCHED}{vouched.name}"
        person = Person(name=vouched.name, actor=actor, role=vouched.role, tasks=vouched.tasks)
        installation = await self._desk.now()
        now = installation.clock.now()

        def issue() -> tuple[str, Key]:
            with installation.store.write() as connection:
                revoke_expired(connection, actor, now)
                secret = issue_key(
                    connection,
                    name=actor,
                    role=vouched.role,
                    now=now,
                    tasks=vouched.tasks,
                    expires_at=now + timedelta(seconds=LIFE_S),
                )
                detail = {"by": "oidc", "role": vouched.role}
                note(connection, at=now, actor=actor, action="sign in", subject="console", detail=detail)
                return secret, load_keys(connection)[sha256_text(secret)]

        secret, key = await in_thread(issue)
        callers = Callers(self._gateway, secret)
        await _until_known(callers)
        ends = self._clock.monotonic() + LIFE_S
        return await self._open(Session(person, callers, owner=actor, key=key.id, ends=ends, **self._new()))

    def _new(self) -> dict[str, Any]:
        return {"csrf": new_secret("form"), "seen": self._clock.monotonic(), "plays": Plays(self._memory)}

    async def _open(self, session: Session) -> str:
        """Always with a new cookie: one that somebody else has put into a browser stands for nobody."""
        await self._forget_old(session.owner)
        cookie = new_secret("session")
        self._known[_place(cookie)] = session
        return cookie

    async def _find(self, desk: Desk, secret: str) -> Key:
        """The key of a secret. One that is not known yet is looked for in the store, once for all who came meanwhile.

        Raises:
            AuthenticationError: There is none.
        """
        if self._keyring.find(secret.encode()) is None:
            await self._look_again(desk)
        else:  # it may have been revoked a moment ago
            await in_thread(partial(self._keyring.reload, (await desk.now()).store))
        found = self._keyring.find(secret.encode())
        if found is None or found.expired((await desk.now()).clock.now()):
            self._count_stranger()
            raise AuthenticationError("This is no key of this installation, or not any more: `changeover key list`.")
        return found

    async def _look_again(self, desk: Desk) -> None:
        """Read the keys, once for all who came with an unknown one meanwhile: nobody can have them read without end."""
        came = self._clock.monotonic()
        async with self._finding:
            if self._found_at > came:
                return
            await asyncio.sleep(max(0.0, min(FIND_S, self._found_at + FIND_S - came)))
            self._found_at = self._clock.monotonic()
            await in_thread(partial(self._keyring.reload, (await desk.now()).store))

    def _count_stranger(self) -> None:
        """Have the log say that somebody tries, no more than once a minute."""
        self._strangers += 1
        now = self._clock.monotonic()
        if now - self._told_at >= TELL_S:
            log.warning("signing in failed %d times with keys that are not known here", self._strangers)
            self._strangers, self._told_at = 0, now

    async def _note(self, desk: Desk, person: Person, action: str, **detail: str) -> None:
        installation = await desk.now()

        def write() -> None:
            with installation.store.write() as connection:
                at, told = installation.clock.now(), {**detail, "role": person.role}
                note(connection, at=at, actor=person.actor, action=action, subject="console", detail=told)

        await in_thread(write)

    async def keep_up(self) -> None:
        """Sign out everywhere whose key was revoked or has expired; take over what else has changed about it.

        Looks once in `KEYS_S`. While the store is gone, who is signed in stays so.
        """
        now = self._clock.monotonic()
        if self._desk is None or now - self._looked < KEYS_S:
            return
        self._looked = now
        installation = await self._desk.now()
        keyring = Keyring()
        try:
            await in_thread(lambda: keyring.reload(installation.store))
        except StoreError as exc:
            log.warning("who is signed in is not looked after: %s", exc.message)
            return
        at = installation.clock.now()
        valid = {key.id: key for key in keyring.keys if not key.expired(at)}
        for place, session in list(self._known.items()):
            key = valid.get(session.key or "")
            if key is None:
                if self._known.pop(place, None) is not None:
                    await session.close()
            elif session.ends is None:
                session.person = person_of(key)
            else:
                session.person = replace(session.person, tasks=key.tasks)

    def find(self, cookie: str | None) -> Session | None:
        """Who a cookie stands for; None: nobody, or it is too old."""
        session = None if cookie is None else self._known.get(_place(cookie))
        now = self._clock.monotonic()
        if session is None or session.is_over(now):
            return None
        session.seen = now
        return session

    def holds(self, session: Session) -> bool:
        """Whether somebody is still signed in."""
        return any(each is session for each in self._known.values()) and not session.is_over(self._clock.monotonic())

    async def end(self, cookie: str | None) -> None:
        """Sign out."""
        session = None if cookie is None else self._known.pop(_place(cookie), None)
        if session is None:
            return
        await self._drop(session)
        if self._desk is not None:
            await self._note(self._desk, session.person, "sign out")

    async def close(self) -> None:
        """Sign everybody out."""
        while self._known:
            await self._drop(self._known.popitem()[1])

    async def _drop(self, session: Session) -> None:
        """Close what a session holds; the key that was made for it opens nothing any more."""
        await session.close()
        id = session.key
        if self._desk is None or id is None or session.ends is None:
            return
        installation = await self._desk.now()

        def revoke() -> None:
            with installation.store.write() as connection:
                if any(key.id == id for key in load_keys(connection).values()):
                    revoke_key(connection, id, installation.clock.now())

        try:
            await in_thread(revoke)
        except StoreError as exc:
            log.warning("the key of somebody who signed out could not be revoked; it expires: %s", exc.message)

    def streams_of(self, owner: str) -> int:
        """Open pages that listen for changes, of all sessions of somebody."""
        return sum(session.streams for session in self._known.values() if session.owner == owner)

    async def _forget_old(self, owner: str) -> None:
        """Make room for one more session of somebody."""
        now = self._clock.monotonic()
        by_age = sorted(self._known.items(), key=lambda each: each[1].seen)
        old = {place for place, session in by_age if session.is_over(now)}
        living = [(place, session) for place, session in by_age if place not in old]
        own = [place for place, session in living if session.owner == owner]
        old |= set(own[: max(0, len(own) - MOST_OF_A_KEY + 1)])
        every = [place for place, _ in living if place not in old]
        old |= set(every[: max(0, len(every) - MOST_SESSIONS + 1)])
        for place in old:
            forgotten = self._known.pop(place, None)
            if forgotten is not None:  # else by another who signs in at this moment
                await self._drop(forgotten)


async def _until_known(callers: Callers) -> None:
    """Wait until the gateway knows a key, which may have been made a moment ago; not for long, and not if none runs."""
    with contextlib.suppress(NotReadyError, TimeoutError):
        client = callers.client()
        async with asyncio.timeout(KNOWN_WITHIN_S):
            while True:
                try:
                    await client.tools()
                except ClientError as failure:
                    if failure.status == AuthenticationError.status:
                        await asyncio.sleep(ASK_AGAIN_S)
                        continue
                return


def person_of(key: Key) -> Person:
    """Whoever holds a key. A name that is too long for the history gives way to the key's id, which nobody else has."""
    named = f"key:{key.name}"
    actor = named if len(named) <= LONGEST_NAME else f"key:{key.id}"
    return Person(name=key.name, actor=actor, role=key.role, tasks=key.tasks)


def _place(cookie: str) -> str:
    return sha256(cookie.encode()).hexdigest()
