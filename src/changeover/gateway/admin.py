"""The admin API's part in the door: what is asked for, read from path and body. What is done about it, `app` injects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from changeover.core.errors import CapacityError, RequestError
from changeover.gateway.http import Head
from changeover.gateway.keys import Key
from changeover.gateway.resolve import read_fields
from changeover.gateway.routes import ADMIN_TASKS, Route

MOST_AT_ONCE = 64
"""Requests that are answered, or wait for it; more are refused."""
LONGEST_REASON = 2_000
LONGEST_NAME = 120


class Steer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each of them is told."""

    reason: str


class Switch(Steer, frozen=True, kw_only=True, forbid_unknown_fields=True):
    to: str


class Override(Steer, frozen=True, kw_only=True, forbid_unknown_fields=True):
    gate: Literal["evaluation", "approval"]
    approver: str
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request of somebody who steers or approves, or of a viewer that looks."""

    key: Key
    deed: str
    """One of `DEEDS`, or what is looked at: `tasks`, or one of `LOOKS`."""
    task: str | None
    told: Steer | None
    """None: it only looks."""


Answer = Callable[[Asked], Any]
"""Does it, or looks, and gives the JSON to answer. Takes its time: it runs in a thread.

Raises:
    ChangeoverError: As the API reports it.
"""


class Desk:
    """Where it is done, one after the other.

    In a thread of its own: many of them, or a store that is slow, must not delay what follows routes and keys.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="admin")
        self._waiting = 0

    async def see_to(self, asked: Asked) -> Any:
        """Do it, or look.

        Raises:
            CapacityError: Too many at once.
            ChangeoverError: As the answer says.
        """
        if self._waiting >= MOST_AT_ONCE:
            raise CapacityError(f"{self._waiting} requests to the admin API are being seen to. Try again in a second.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, asked)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Take no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def asked_for(route: Route, head: Head, key: Key, body: bytes) -> Asked:
    """What a request to one of the admin API's routes asks for.

    Raises:
        RequestError: The body lacks a field, has an unknown one, or one of another kind; names it.
    """
    if route.path == ADMIN_TASKS:
        return Asked(key=key, deed="tasks", task=None, told=None)
    task, _, deed = head.path.removeprefix(f"{ADMIN_TASKS}/").rpartition("/")
    if "GET" in route.methods:
        return Asked(key=key, deed=deed, task=task, told=None)
    return Asked(key=key, deed=deed, task=task, told=_read(deed, body))


def _read(deed: str, body: bytes) -> Steer:
    kind = {"switch": Switch, "override": Override}.get(deed, Steer)
    try:
        told = msgspec.convert(read_fields(body), kind)
    except msgspec.ValidationError as exc:
        raise RequestError(f"The body is not what `{deed}` takes: {exc}.") from exc
    if not told.reason.strip() or len(told.reason) > LONGEST_REASON:
        raise RequestError(f"`reason` must say why, in at most {LONGEST_REASON} characters.")
    if isinstance(told, Override) and told.expires_at.tzinfo is None:
        raise RequestError("`expires_at` must say its time zone, as in `2026-12-01T12:00:00Z`.")
    names = {"to": told.to} if isinstance(told, Switch) else {}
    names |= {"approver": told.approver} if isinstance(told, Override) else {}
    for field, name in names.items():
        if not name.strip() or len(name) > LONGEST_NAME:
            raise RequestError(f"`{field}` must be a name of at most {LONGEST_NAME} characters.")
    return told
