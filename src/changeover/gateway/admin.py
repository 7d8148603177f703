"""The admin API's part in the door: what is asked for, read from path and body. What is done about it, `app` injects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from changeover.core.errors import RequestError
from changeover.gateway.http import Head
from changeover.gateway.keys import Key
from changeover.gateway.resolve import read_fields
from changeover.gateway.routes import ADMIN_TASKS, Route

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
    """One request of an operator, or of a monitor that looks."""

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
