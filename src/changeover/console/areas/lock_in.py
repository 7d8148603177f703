"""What ties the organisation to a model, an engine or a vendor."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from starlette.responses import Response

from changeover.app.installation import Installation
from changeover.app.lockin import Report, lockin
from changeover.app.lockin.answers import TaskReport
from changeover.console.routes import Page
from changeover.console.visit import Visit

PERIOD = timedelta(days=30)
FRESH_S = 300.0
"""The report reads recorded requests of every task: it is made anew no more often."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A report, and when it was made."""

    report: Report
    at: datetime
    until: float
    """Monotonic: after it a new one is made."""


async def lock_in(visit: Visit) -> Response:
    """The page: with the report where one is there, else it is fetched once the page is open."""
    made = _kept(visit)
    return visit.page("lock_in/lock_in.html", made=made, tasks=_ordered(made), fetched=False)


async def report(visit: Visit) -> Response:
    """The report, whole; takes seconds where it has to be made."""
    async with _turn(visit):  # who comes meanwhile waits for the one that is made, and takes no thread for it
        made = _kept(visit)
        if made is None:
            made = await visit.do(partial(_make, visit.theirs))
            _reports(visit)[visit.person.tasks] = made
    return visit.page("lock_in/lock_in.html", made=made, tasks=_ordered(made), fetched=True)


def _turn(visit: Visit) -> asyncio.Lock:
    """The process's one."""
    state = visit.request.app.state
    if getattr(state, "lock_in_turn", None) is None:
        state.lock_in_turn = asyncio.Lock()
    return state.lock_in_turn


def _kept(visit: Visit) -> Made | None:
    """The report on what whoever looks may see, while it is fresh."""
    reports = _reports(visit)
    for tasks in [tasks for tasks, made in reports.items() if time.monotonic() > made.until]:
        del reports[tasks]
    return reports.get(visit.person.tasks)


def _reports(visit: Visit) -> dict[frozenset[str] | None, Made]:
    """The process's, by the tasks that they are about; None: all."""
    state = visit.request.app.state
    made: dict[frozenset[str] | None, Made] | None = getattr(state, "lock_in", None)
    if made is None:
        made = state.lock_in = {}
    return made


def _make(installation: Installation) -> Made:
    now = installation.clock.now()
    return Made(report=lockin(installation, now - PERIOD), at=now, until=time.monotonic() + FRESH_S)


def _ordered(made: Made | None) -> list[TaskReport]:
    """Those that are tied the most first."""
    if made is None:
        return []
    return sorted(made.report.tasks, key=lambda task: (bool(task.proven), bool(task.could_try), task.task))


PAGES: tuple[Page, ...] = (
    Page(path="/lock-in", endpoint=lock_in, right="look"),
    Page(path="/lock-in/report", endpoint=report, right="look"),
)
