"""Trials: one candidate against the incumbent of every task, in one table that fills while it runs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from markupsafe import Markup
from sqlalchemy import Connection
from starlette.responses import Response

from changeover.app.candidates import Candidate, Candidates
from changeover.app.deploy import run_again
from changeover.app.trial_lines import Line, cost_title, counts_of, lines_of, to_switch
from changeover.app.trials import Begun, start_rollouts, table_of
from changeover.app.tried import Tried, mark_of, tried
from changeover.console.areas.measuring import run_here, running_here
from changeover.console.following import following
from changeover.console.forest import Forest
from changeover.console.routes import Page
from changeover.console.visit import LONGEST_REASON, Visit, text_of
from changeover.core.errors import ChangeoverError, GateError, NotReadyError, RequestError, UnknownTaskError
from changeover.evals.trial_queries import Trial, find_trial, recent_trials
from changeover.evals.trials import Table
from changeover.rollouts.actions import By
from changeover.rollouts.duration import Course, course_line

ROWS = 15
ORDERS: tuple[str, ...] = ("advice", "task")
ADVICE: tuple[str, ...] = ("switch", "switch if wanted", "undecided", "keep", "none")
"""In the order in which a person wants to see them."""
NOT_RUNNING = (
    "The gateway does not run, so that a switch would begin with nobody to make it. Start it: `changeover up`."
)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A trial in the list."""

    trial: Trial
    table: Table
    counts: Mapping[str, int]
    alive: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """A task of a trial, with its picture and what became of its switch."""

    line: Line
    bar: Markup
    said: str
    """What the recommendation says beside its word."""
    course: Course | None
    became: str


async def trials(visit: Visit) -> Response:
    """All of them, newest first."""
    before, now = visit.number("before"), visit.installation.clock.now()

    def look(connection: Connection) -> list[Summary]:
        return [_summary(connection, each, visit) for each in _theirs_of(connection, visit, before)]

    def _summary(connection: Connection, trial: Trial, visit: Visit) -> Summary:
        if trial.ended_at is not None:
            table = theirs(visit, table_of(connection, trial))
            return Summary(trial=trial, table=table, counts=counts_of(table), alive=False)
        seen = tried(connection, trial, now)
        table = theirs(visit, seen.table)
        return Summary(trial=trial, table=table, counts=counts_of(table), alive=seen.alive)

    found = await visit.read(look)
    return visit.page(
        "trials/trials.html",
        rows=found[:ROWS],
        older=f"/trials?before={found[ROWS - 1].trial.id}" if len(found) > ROWS else "",
        first=before is None,
        now=running_here(visit),
    )


def _theirs_of(connection: Connection, visit: Visit, before: int | None) -> list[Trial]:
    """The newest trials that tried a task which whoever looks may see; one more than a page has."""
    found: list[Trial] = []
    while len(found) <= ROWS:
        some = recent_trials(connection, ROWS + 1, before)
        found += [each for each in some if any(map(visit.person.may_see, each.plan["tasks"]))]
        if len(some) <= ROWS:
            break
        before = some[-1].id
    return found[: ROWS + 1]


def theirs(visit: Visit, table: Table) -> Table:
    """The lines of the tasks that whoever looks may see; they were judged beside all the others."""
    return replace(table, rows=tuple(row for row in table.rows if visit.person.may_see(row.task)))


async def trial(visit: Visit) -> Response:
    """One trial: where its candidate should take over."""
    return await _shown(visit, "trials/trial.html")


async def part(visit: Visit) -> Response:
    """What changes of it."""
    return await _shown(visit, "trials/live.html")


async def _shown(
    visit: Visit, template: str, *, status: int = 200, error: str | None = None, reason: str = ""
) -> Response:
    seen = await visit.read(partial(_tried, visit))
    table = theirs(visit, seen.table)
    asked = visit.query("by")
    by = asked if asked in ORDERS else "task" if seen.trial.ended_at is None else "advice"
    intervals = [
        (row.low, row.high)
        for row in table.tried
        if row.low is not None and row.high is not None and row.outcome.kind == "measured"
    ]
    forest = Forest.over(intervals, visit.language)
    return visit.page(
        template,
        status,
        seen=seen,
        table=table,
        rows=rows_of(table, seen.courses, forest, by),
        by=by,
        forest=forest,
        cost=cost_title(table),
        counts=counts_of(table),
        here=run_here(visit, trial=seen.trial.id),
        waiting=[name for name in to_switch(table, seen.courses) if name not in seen.hindered],
        error=error,
        reason=reason,
    )


def _tried(visit: Visit, connection: Connection) -> Tried:
    """The trial that the address names.

    Raises:
        UnknownTaskError: It names none, or one that tried only what is not theirs.
    """
    text = visit.parameter("trial")
    if not text.isdecimal() or len(text) > 12:
        raise UnknownTaskError(f"No trial `{text[:40]}`.")
    try:
        found = find_trial(connection, int(text))
    except ChangeoverError as exc:
        raise UnknownTaskError(exc.message) from exc
    if not any(map(visit.person.may_see, found.plan["tasks"])):
        raise UnknownTaskError(f"No trial `{text}`.")
    return tried(connection, found, visit.installation.clock.now())


def rows_of(table: Table, courses: Mapping[str, Course], forest: Forest, by: str) -> list[Row]:
    """Lines of the table, in the trial's order or by what is recommended."""
    rows = [_row(line, courses.get(line.row.task), forest) for line in lines_of(table)]
    if by == "advice":
        rows.sort(key=lambda row: (ADVICE.index(row.line.row.advice), -(row.line.row.difference or 0.0)))
    return rows


def _row(line: Line, course: Course | None, forest: Forest) -> Row:
    row = line.row
    bar = Markup("")
    if row.difference is not None and row.low is not None and row.high is not None:
        bar = forest.bar(row.difference, row.low, row.high)
    said = "" if line.recommendation == row.advice else line.recommendation.removeprefix(f"{row.advice}: ")
    return Row(line=line, bar=bar, said=said, course=course, became="" if course is None else course_line(course))


async def events(visit: Visit) -> Response:
    """That it came on, for a page that is open."""
    seen = await visit.read(partial(_tried, visit))

    def look(connection: Connection) -> Hashable:
        now = find_trial(connection, seen.trial.id)
        return now.ended_at is not None, mark_of(connection, now, visit.person.may_see), run_here(visit, trial=now.id)

    return await following(lambda: visit.read(look), lambda now: isinstance(now, tuple) and now[0] is True)


async def switch(visit: Visit) -> Response:
    """Begin the switches that it recommends, as `changeover switch --from-trial` does."""
    async with visit.form() as form:
        reason = text_of(form, "reason")
        chosen = [each for each in form.getlist("task") if isinstance(each, str)]
    seen = await visit.read(partial(_tried, visit))
    try:
        if visit.desk is None or visit.desk.gateway() is None:
            raise NotReadyError(NOT_RUNNING)
        if len(reason) > LONGEST_REASON:
            raise RequestError(f"Say why in at most {LONGEST_REASON} characters: it stands in the history.")
        for name in chosen:
            visit.require_task(name)
        begun = await visit.do(lambda: _begin(visit, seen, chosen, reason))
    except ChangeoverError as failure:
        return await _shown(visit, "trials/trial.html", status=failure.status, error=failure.message, reason=reason)
    skipped = [f"`{each.task}`: {each.skipped}" for each in begun if each.rollout is None]
    if skipped:
        visit.tell("{} of {} switches began. {}", len(begun) - len(skipped), len(begun), " ".join(skipped))
    else:
        visit.tell("{} switches began.", len(begun))
    return visit.go(f"/trials/{seen.trial.id}")


def _begin(visit: Visit, seen: Tried, chosen: Sequence[str], reason: str) -> list[Begun]:
    """Begin those that were chosen among those that are recommended.

    Raises:
        GateError: None of them is.
    """
    holding = [name for name in to_switch(seen.table, seen.courses) if name in chosen]
    if not holding:
        raise GateError("Choose at least one task that the trial recommends to switch and that is not under way yet.")
    installation = visit.installation
    by = By(actor=visit.person.actor, reason=reason, now=installation.clock.now())
    run_again(installation, seen.trial.candidate, by.actor)
    return [each for name in holding for each in start_rollouts(installation, seen.table, name, by)]


async def candidates(visit: Visit) -> Response:
    """What could be tried; the page is there at once, and what takes its time comes after."""
    if visit.query("look") != "1":
        return visit.page("trials/candidates.html", groups=None, elsewhere=0)
    found = await visit.do(lambda: Candidates(visit.theirs).find())
    here = [each for each in found if each.relation == "successor" or each.runs != "by a server only"]
    groups: Mapping[str, list[Candidate]] = {
        kind: [each for each in here if each.relation == kind] for kind in ("successor", "other")
    }
    return visit.page("trials/candidates.html", groups=groups, elsewhere=len(found) - len(here))


PAGES: tuple[Page, ...] = (
    Page(path="/trials", endpoint=trials, right="look"),
    Page(path="/trials/candidates", endpoint=candidates, right="look"),
    Page(path="/trials/{trial}", endpoint=trial, right="look"),
    Page(path="/trials/{trial}/part", endpoint=part, right="look"),
    Page(path="/trials/{trial}/events", endpoint=events, right="look"),
    Page(path="/trials/{trial}/switch", endpoint=switch, right="operate", methods=("POST",)),
)
