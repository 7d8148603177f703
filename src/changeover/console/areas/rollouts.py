"""Rollouts: each step as it happens, its evidence and guards, and the deeds that steer it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from markupsafe import Markup
from sqlalchemy import Connection
from starlette.responses import Response

from changeover.app.admin import Admin
from changeover.app.lookout import Lookout, Standing, ahead_of, known_rollout
from changeover.app.steering import Seen
from changeover.console.differences import marked, plainly
from changeover.console.exchanges import answer_of, asked_of
from changeover.console.following import following
from changeover.console.growth import growth_figure
from changeover.console.routes import Page
from changeover.console.said import report_in
from changeover.console.visit import Visit, text_of
from changeover.core.errors import ChangeoverError, RequestError, UnknownTaskError
from changeover.gateway.admin import LONGEST_NAME, Override, Steer
from changeover.rollouts.decide import ACTIVE, BEFORE_PROMOTION, Reading, Rollout
from changeover.rollouts.queries import find_rollout, newest_event, newest_rollouts
from changeover.serving.queries import load_variants
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import copied_pairs

ROWS = 25
MOST_PAIRS = 12
LONGEST_SHOWN = 20_000
"""Characters of a question or an answer."""
LEAVES: Mapping[str, timedelta] = {
    "1 h": timedelta(hours=1),
    "8 h": timedelta(hours=8),
    "1 d": timedelta(days=1),
    "7 d": timedelta(days=7),
}
"""How long an override may last, as the form offers it."""
DONE: Mapping[str, str] = {
    "pause": "Rollout {} is paused. Its guards stay on.",
    "resume": "Rollout {} goes on.",
    "promote": "The candidate of rollout {} answers everything now, and bakes.",
    "abort": "Rollout {} was aborted: the incumbent answers everything.",
    "rollback": "Rolled back: who answered before answers again.",
    "approve": "You agreed to rollout {}.",
    "override": "The gate of rollout {} is overridden until the leave ends.",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A rollout in the list."""

    rollout: Rollout
    incumbent: str
    candidate: str


@dataclass(frozen=True, kw_only=True)
class Guard:
    """One guard as a bar that is full at its alarm."""

    reading: Reading
    share: float
    """Of the way to the alarm, 0 to 1, on a scale of odds."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A request that both sides answered."""

    asked: str
    incumbent: Markup
    candidate: Markup
    original: Exchange
    copy: Exchange


async def rollouts(visit: Visit) -> Response:
    """Rollouts under way, then those that have ended, newest first."""
    before, task = visit.number("before"), visit.query("task")
    tasks = [task] if task else None if visit.person.tasks is None else sorted(visit.person.tasks)
    if task:
        visit.require_task(task)

    def look(connection: Connection) -> tuple[list[Row], list[Row]]:
        under_way = newest_rollouts(connection, tasks=tasks, before=None, ended=False, limit=500)
        ended = newest_rollouts(connection, tasks=tasks, before=before, ended=True, limit=ROWS + 1)
        return _rows(connection, under_way), _rows(connection, ended)

    under_way, ended = await visit.read(look)
    older = f"/rollouts?before={ended[ROWS - 1].rollout.id}&task={task}" if len(ended) > ROWS else ""
    return visit.page(
        "rollouts/rollouts.html",
        under_way=[] if before else under_way,
        ended=ended[:ROWS],
        older=older,
        task=task,
        first=before is None,
    )


def _rows(connection: Connection, found: Sequence[Rollout]) -> list[Row]:
    variants = load_variants(connection, {id for each in found for id in (each.incumbent, each.candidate)})
    return [
        Row(
            rollout=each,
            incumbent=variants[each.incumbent].deployment,
            candidate=variants[each.candidate].deployment,
        )
        for each in found
    ]


async def rollout(visit: Visit) -> Response:
    """One rollout, live."""
    return await _shown(visit, "rollouts/rollout.html")


async def part(visit: Visit) -> Response:
    """What changes of it."""
    return await _shown(visit, "rollouts/part.html")


async def _shown(visit: Visit, template: str, status: int = 200, error: str | None = None) -> Response:
    standing = await _standing(visit)
    candidates = await visit.read(partial(_pairs, standing))
    now = visit.installation.clock.now()
    return visit.page(
        template,
        status,
        standing=standing,
        rollout=standing.rollout,
        active=standing.rollout.state in ACTIVE,
        before_promotion=standing.rollout.state in BEFORE_PROMOTION,
        guards=[guard_of(each, standing.alarm) for each in standing.readings],
        all_guards=share_of_alarm(standing.guard, standing.alarm),
        figure=growth_figure(standing.growth, report_in(visit.language)),
        ahead=ahead_of(standing.rollout),
        pairs=candidates,
        overrides=[each for each in standing.overrides if each.ended_at is None and each.expires_at > now],
        leaves=list(LEAVES),
        error=error,
    )


async def _standing(visit: Visit) -> Standing:
    """How the rollout of the address stands.

    Raises:
        UnknownTaskError: There is none, or none of theirs.
    """
    id = _number(visit)
    await visit.read(partial(_of_theirs, visit, id))
    return await visit.do(partial(_lookout(visit).standing, id))


def _of_theirs(visit: Visit, id: int, connection: Connection) -> Rollout:
    found = find_rollout(connection, id)
    if found is None or not visit.person.may_see(found.task):
        raise UnknownTaskError(f"No rollout `{id}`.")
    return found


def _number(visit: Visit) -> int:
    """The rollout that the address names.

    Raises:
        UnknownTaskError: It names none.
    """
    text = visit.parameter("rollout")
    if not text.isdecimal() or len(text) > 12:
        raise UnknownTaskError(f"No rollout `{text[:40]}`.")
    return int(text)


def _lookout(visit: Visit) -> Lookout:
    """The process's one: what it has read of the records it does not read again."""
    state = visit.request.app.state
    if getattr(state, "lookout", None) is None:
        state.lookout = Lookout(visit.store, visit.installation.clock)
    return state.lookout


def guard_of(reading: Reading, alarm: float) -> Guard:
    """A guard's reading as a bar."""
    return Guard(reading=reading, share=share_of_alarm(reading.evidence, alarm))


def share_of_alarm(evidence: float, alarm: float) -> float:
    """How far evidence has come on its way from even odds to an alarm, 0 to 1: doubled odds are a step of the same width.

    >>> share_of_alarm(1.0, 100.0), share_of_alarm(10.0, 100.0), share_of_alarm(0.2, 100.0)
    (0.0, 0.5, 0.0)
    """
    if evidence <= 1 or alarm <= 1:
        return 0.0
    return min(1.0, math.log(evidence) / math.log(alarm))


def _pairs(standing: Standing, connection: Connection) -> list[Pair]:
    """Newest requests that both sides answered: copies of the shadow with what they were copied from."""
    shadows = [stage for stage in standing.stages if stage.name.startswith("shadow") and stage.at is not None]
    if not shadows or shadows[0].at is None:
        return []
    after = standing.stages[standing.stages.index(shadows[-1]) + 1].at or standing.rollout.ended_at
    found = copied_pairs(
        connection,
        standing.rollout.task,
        standing.rollout.candidate,
        since=shadows[0].at,
        until=after,
        limit=MOST_PAIRS,
    )
    return [_pair(original, copy) for original, copy in found]


def _pair(original: Exchange, copy: Exchange) -> Pair:
    kept = original.response is not None and copy.response is not None
    texts = _beginning(answer_of(original)), _beginning(answer_of(copy))
    incumbent, candidate = marked(*texts) if kept else plainly(*texts)
    return Pair(
        asked=_beginning(asked_of(original)), incumbent=incumbent, candidate=candidate, original=original, copy=copy
    )


def _beginning(text: str) -> str:
    """As much of a text as a page of many holds; the page of the exchange has more of it."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


async def events(visit: Visit) -> Response:
    """That something changed, for a page that is open."""
    id = _number(visit)

    def look(connection: Connection) -> tuple[Rollout, int]:
        return known_rollout(connection, id), newest_event(connection, id)

    async def seen() -> Hashable:
        found, newest = await visit.read(look)
        row = (found.state, found.step, found.hold is None, newest)
        evidence = await visit.do(partial(_lookout(visit).evidence, found))
        return row, None if evidence is None else (evidence.whole.asked, evidence.step.asked, round(evidence.guard, 1))

    await visit.read(partial(_of_theirs, visit, id))
    return await following(seen, lambda now: isinstance(now, tuple) and now[0][0] not in ACTIVE)


async def deed(visit: Visit) -> Response:
    """Steer it: one of the deeds of `DONE`."""
    name = visit.request.url.path.rpartition("/")[2]
    standing = await _standing(visit)
    rollout = standing.rollout
    async with visit.form() as form:
        reason, back = text_of(form, "reason"), text_of(form, "back")
        gate, approver, leave = text_of(form, "gate"), text_of(form, "approver"), text_of(form, "leave")
    try:
        by = visit.by(reason)
        told = Steer(reason=by.reason)
        if name == "override":
            told = _override(visit, by.reason, gate, approver, leave)
        seen = Seen(rollout=rollout.id)
        await visit.do(partial(Admin(visit.installation).act, name, rollout.task, told, by, seen))
    except ChangeoverError as failure:
        return await _shown(visit, "rollouts/rollout.html", failure.status, failure.message)
    visit.tell(DONE[name], rollout.id)
    return visit.go("/tasks" if back == "tasks" else f"/rollouts/{rollout.id}")


def _override(visit: Visit, reason: str, gate: str, approver: str, leave: str) -> Override:
    """What an override is told.

    Raises:
        RequestError: A field is missing, or has a value that is not offered.
    """
    if gate not in ("evaluation", "approval"):
        raise RequestError("Say which gate is overridden: `evaluation` or `approval`.")
    if leave not in LEAVES:
        raise RequestError(f"Say for how long: one of {', '.join(LEAVES)}.")
    if not approver or len(approver) > LONGEST_NAME:
        raise RequestError(f"Say who answers for it, in at most {LONGEST_NAME} characters.")
    expires_at = visit.installation.clock.now() + LEAVES[leave]
    return Override(
        reason=reason,
        gate="evaluation" if gate == "evaluation" else "approval",
        approver=approver,
        expires_at=expires_at,
    )


PAGES: tuple[Page, ...] = (
    Page(path="/rollouts", endpoint=rollouts, right="look"),
    Page(path="/rollouts/{rollout}", endpoint=rollout, right="look"),
    Page(path="/rollouts/{rollout}/part", endpoint=part, right="look"),
    Page(path="/rollouts/{rollout}/events", endpoint=events, right="look"),
    *(
        Page(path=f"/rollouts/{{rollout}}/{name}", endpoint=deed, right="operate", methods=("POST",))
        for name in ("pause", "resume", "promote", "abort", "rollback")
    ),
    *(
        Page(path=f"/rollouts/{{rollout}}/{name}", endpoint=deed, right="approve", methods=("POST",))
        for name in ("approve", "override")
    ),
)
