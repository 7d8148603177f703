"""Who did what, when, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from starlette.responses import Response

from changeover.console.routes import Page
from changeover.console.visit import Visit
from changeover.core.errors import RequestError
from changeover.store.audit import Act, Wanted, acts

ROWS = 50
FIELDS = ("actor", "task", "action", "since", "until")
ACTIONS = (
    "promote",
    "rollback",
    "abort",
    "start",
    "approve",
    "override",
    "pause",
    "resume",
    "apply",
    "compare",
    "trial",
    "stop",
    "accept",
    "deploy",
    "undeploy",
    "key new",
    "key set",
    "key revoke",
    "team new",
    "team set",
    "team remove",
    "sign in",
    "sign out",
)
"""What is offered to look for; others can be typed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One act in the list."""

    act: Act
    where: str | None
    """The page that is about it."""


async def audit(visit: Visit) -> Response:
    """Everything that was done, newest first; what is done with keys is for those who may see keys."""
    asked = {name: visit.query(name) for name in FIELDS}
    task, after = asked["task"], visit.query("after")
    if task:
        visit.require_task(task)
    wanted = Wanted(
        actor=asked["actor"] or None,
        tasks=frozenset({task}) if task else visit.person.tasks,
        action=asked["action"] or None,
        of_keys=visit.person.may("administer"),
        since=_day(asked["since"], "since"),
        until=_end_of(_day(asked["until"], "until")),
        after=after or None,
    )
    found = await visit.read(lambda connection: acts(connection, wanted, ROWS + 1))
    shown = found[:ROWS]
    older = _address(asked, after=shown[-1].cursor) if len(found) > ROWS else ""
    return visit.page(
        "audit/audit.html",
        rows=[Row(act=act, where=_where(act)) for act in shown],
        asked=asked,
        filtered=any(asked.values()),
        actions=[each for each in ACTIONS if wanted.of_keys or not each.startswith(("key ", "team "))],
        newest=_address(asked) if after else "",
        older=older,
    )


def _address(asked: Mapping[str, str], **more: str) -> str:
    return "/audit?" + urlencode({name: value for name, value in {**asked, **more}.items() if value})


def _day(text: str, name: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as exc:
        raise RequestError(f"`{name}` is no date: `{text[:40]}`. Write it as in `2026-11-01`.") from exc


def _end_of(day: datetime | None) -> datetime | None:
    """Up to the end of a day; the last one there is has none."""
    try:
        return None if day is None else day + timedelta(days=1)
    except OverflowError:
        return None


def _where(act: Act) -> str | None:
    if act.source == "rollout":
        return f"/rollouts/{act.subject.removeprefix('rollout ')}"
    if act.source == "trial":
        return f"/trials/{act.id}"
    what, _, which = act.subject.partition(" ")
    if act.source == "audit" and what in ("comparison", "trial") and " " not in which:
        return f"/{what}s/{quote(which, safe='')}"
    if act.source == "route" and act.task is not None:
        return f"/tasks/{quote(act.task, safe='')}"
    return None


PAGES = (Page(path="/audit", endpoint=audit, right="look"),)
