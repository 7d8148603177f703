"""Comparisons: the verdict, what it was made from, and every sample; those that are made now, as they grow."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup
from sqlalchemy import Connection
from starlette.responses import PlainTextResponse, Response

from changeover.app.comparisons import (
    UnderWay,
    all_under_way,
    is_alive,
    last_sign,
    report_of,
    templates_of,
    under_way,
    why_no_switch,
)
from changeover.app.switching import begin_switch
from changeover.console.areas.measuring import run_here, running_here
from changeover.console.following import following
from changeover.console.forest import Forest
from changeover.console.growth import growth_figure, settling_figure
from changeover.console.routes import Page
from changeover.console.said import report_in
from changeover.console.visit import Visit, text_of
from changeover.core.errors import ChangeoverError, GateError, NotReadyError, UnknownTaskError
from changeover.evals.queries import Verdict, find_verdict, last_sample, mean_difference, newest_comparisons
from changeover.evals.report.html import kinds_of, part_style, to_html, to_part, to_reading
from changeover.serving.queries import load_variants

ROWS = 25
READ_AT_ONCE = 10
"""Samples on a page of those to read through."""
VERDICTS: tuple[str, ...] = ("pass", "fail", "inconclusive", "open")
"""By which the list can be narrowed; `open`: without one."""
NOT_RUNNING = (
    "The gateway does not run, so that a switch would begin with nobody to make it. Start it: `changeover up`."
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A comparison in the list."""

    comparison: Verdict
    incumbent: str
    candidate: str
    alive: bool
    """Without a verdict: whether it is made at this moment."""
    samples: int
    difference: float | None
    """None where no sample could be used, or none was yet."""
    low: float
    high: float
    calls: int | None
    """New ones and kept answers; None while it is made."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """By what the list is narrowed."""

    task: str
    candidate: str
    verdict: str

    @property
    def narrowed(self) -> bool:
        return bool(self.task or self.candidate or self.verdict)

    def address(self, before: str) -> str:
        """The rows after one of them."""
        fields = {"task": self.task, "candidate": self.candidate, "verdict": self.verdict, "before": before}
        return f"/comparisons?{urlencode({name: value for name, value in fields.items() if value})}"


async def comparisons(visit: Visit) -> Response:
    """Those that are made now, then all that were, newest first."""
    return await _list(visit, "comparisons/comparisons.html")


async def now_part(visit: Visit) -> Response:
    """Those that are made now, as the page of all exchanges them."""
    return await _list(visit, "comparisons/now.html")


async def _list(visit: Visit, template: str) -> Response:
    before = visit.query("before") or None
    verdict = visit.query("verdict") if visit.query("verdict") in VERDICTS else ""
    asked = Asked(task=visit.query("task"), candidate=visit.query("candidate"), verdict=verdict)
    if asked.task:
        visit.require_task(asked.task)
    tasks = [asked.task] if asked.task else None if visit.person.tasks is None else sorted(visit.person.tasks)
    moment = visit.installation.clock.now()

    def look(connection: Connection) -> tuple[list[Row], list[Row], str]:
        alive = [each for each in all_under_way(connection, moment) if visit.person.may_see(each.task)]
        found = newest_comparisons(
            connection,
            tasks=tasks,
            candidate=asked.candidate or None,
            verdict=asked.verdict or None,
            before=before,
            limit=ROWS + 1,
        )
        made = {each.id for each in alive}
        rest = [each for each in found[:ROWS] if each.id not in made]
        last = found[ROWS - 1].id if len(found) > ROWS else ""
        return rows_of(connection, alive, alive=True), rows_of(connection, rest), last

    under_way_now, rest, last = await visit.read(look)
    known = [row for row in (*under_way_now, *rest) if row.difference is not None]
    return visit.page(
        template,
        under_way=[] if before or asked.narrowed else under_way_now,
        rows=rest,
        forest=Forest.over(((row.low, row.high) for row in known if not row.alive), visit.language),
        older=asked.address(last) if last else "",
        asked=asked,
        verdicts=VERDICTS,
        tasks=sorted(name for name in visit.installation.tasks if visit.person.may_see(name)),
        first=before is None,
        now=running_here(visit),
    )


def rows_of(connection: Connection, found: Sequence[Verdict], *, alive: bool = False) -> list[Row]:
    """Lines of the list."""
    variants = load_variants(connection, {id for each in found for id in (each.incumbent, each.candidate)})
    return [
        _row(connection, each, variants[each.incumbent].deployment, variants[each.candidate].deployment, alive=alive)
        for each in found
    ]


def _row(connection: Connection, each: Verdict, incumbent: str, candidate: str, *, alive: bool) -> Row:
    said = each.summary
    if said is not None:
        known: Mapping[str, float] | None = said if said["samples"] else None
        samples, difference = int(said["samples"]), float(said["difference"])
        calls = int(said["calls_new"]) + int(said["calls_cached"])
    else:
        last = last_sample(connection, each.id)
        known = None if last is None else last.evidence
        (samples, difference), calls = mean_difference(connection, each.id), None
    return Row(
        comparison=each,
        incumbent=incumbent,
        candidate=candidate,
        alive=alive,
        samples=samples,
        difference=difference if known is not None and samples else None,
        low=-1.0 if known is None else float(known.get("low", -1.0)),
        high=1.0 if known is None else float(known.get("high", 1.0)),
        calls=calls,
    )


async def now_events(visit: Visit) -> Response:
    """That one began, ended, or came on."""

    def look(connection: Connection) -> Hashable:
        found = all_under_way(connection, visit.installation.clock.now())
        lasts = [(each.id, last_sample(connection, each.id)) for each in found if visit.person.may_see(each.task)]
        return tuple((id, 0 if last is None else last.position) for id, last in lasts)

    return await following(lambda: visit.read(look))


async def comparison(visit: Visit) -> Response:
    """One comparison: its report, or how far it is."""
    return await _shown(visit, await _found(visit))


async def _shown(
    visit: Visit, found: Verdict, *, status: int = 200, error: str | None = None, reason: str = ""
) -> Response:
    if found.verdict is None:
        return visit.page("comparisons/growing.html", status, **await _growing(visit, found))

    def look(connection: Connection) -> tuple[str, str | None]:
        candidate = load_variants(connection, [found.candidate])[found.candidate].deployment
        return candidate, why_no_switch(connection, found)

    report, part = await visit.do(partial(_report, visit, found.id))
    candidate, against = await visit.read(look)
    return visit.page(
        "comparisons/comparison.html",
        status,
        comparison=found,
        part=part,
        candidate=candidate,
        against=against,
        declared=found.task in visit.installation.tasks,
        samples=report,
        error=error,
        reason=reason,
    )


def _report(visit: Visit, id: str) -> tuple[int, Markup]:
    """The report's inside, and how many samples there are to read through."""
    report = report_of(visit.installation, id)
    return len(report.samples), to_part(report, templates_of(visit.installation), report_in(visit.language))


async def part(visit: Visit) -> Response:
    """How far it is; once it has ended, the page has to be asked for anew."""
    found = await _found(visit)
    if found.verdict is not None:
        return Response(status_code=204, headers={"hx-refresh": "true"})
    return visit.part("comparisons/live.html", **await _growing(visit, found))


async def _growing(visit: Visit, found: Verdict) -> dict[str, Any]:
    """What is shown of one without a verdict."""
    now = visit.installation.clock.now()
    made: UnderWay = await visit.read(lambda connection: under_way(connection, found.id, now))
    language = report_in(visit.language)
    figures = (
        [growth_figure(made.growth, language), settling_figure(made.growth, language)] if made.growth.samples else []
    )
    return {
        "comparison": found,
        "made": made,
        "here": run_here(visit, comparison=found.id),
        "plan": made.comparison.plan,
        "figures": [figure for figure in figures if figure is not None],
    }


async def events(visit: Visit) -> Response:
    """That a sample came, or that it ended."""
    found = await _found(visit)

    def look(connection: Connection) -> tuple[str | None, int, bool]:
        now: datetime = visit.installation.clock.now()
        seen = find_verdict(connection, found.id)
        if seen is None or seen.verdict is not None:
            return ("gone" if seen is None else seen.verdict), 0, False
        last = last_sample(connection, found.id)
        alive = is_alive(connection, seen, last_sign(connection, seen), now)
        return None, 0 if last is None else last.position, alive

    return await following(lambda: visit.read(look), lambda now: isinstance(now, tuple) and now[0] is not None)


async def samples(visit: Visit) -> Response:
    """Samples that were won, lost or even, to read through."""
    found = await _ended(visit)
    asked, number = visit.query("kind"), max(1, visit.number("page") or 1)
    language = report_in(visit.language)

    def made() -> dict[str, Any]:
        report = report_of(visit.installation, found.id)
        kinds = {
            kind.title.lower(): kind for kind in kinds_of(report, [each for each in report.samples if each.usable])
        }
        fitting = asked if asked in kinds else next((name for name, kind in kinds.items() if kind.samples), "won")
        kind, start = kinds[fitting], (number - 1) * READ_AT_ONCE
        return {
            "kinds": {name: len(each.samples) for name, each in kinds.items()},
            "kind": fitting,
            "part": to_reading(report, kind, start, READ_AT_ONCE, templates_of(visit.installation), language),
            "first": start + 1,
            "last": min(start + READ_AT_ONCE, len(kind.samples)),
            "more": start + READ_AT_ONCE < len(kind.samples),
            "incumbent": report.incumbent.deployment,
            "candidate": report.candidate.deployment,
        }

    return visit.page("comparisons/samples.html", comparison=found, number=number, **await visit.do(made))


async def as_page(visit: Visit) -> Response:
    """The report as the file that `changeover compare` writes."""
    found = await _ended(visit)
    installation, language = visit.installation, report_in(visit.language)
    text = await visit.do(lambda: to_html(report_of(installation, found.id), templates_of(installation), language))
    return Response(text, media_type="text/html", headers=_as_file(f"{found.id}.html"))


async def as_document(visit: Visit) -> Response:
    """The record for programs."""
    found = await _ended(visit)
    report = await visit.do(partial(report_of, visit.installation, found.id))
    text = await visit.do(lambda: json.dumps(asdict(report), ensure_ascii=False, indent=1, default=str))
    return Response(text, media_type="application/json", headers=_as_file(f"{found.id}.json"))


def _as_file(name: str) -> Mapping[str, str]:
    return {"content-disposition": f'attachment; filename="{quote(name)}"'}


async def style(visit: Visit) -> Response:
    """The report's style, for what is shown of it here."""
    del visit
    return PlainTextResponse(part_style(), media_type="text/css")


async def switch(visit: Visit) -> Response:
    """Begin a switch on its evidence, as `changeover switch --detach` does."""
    found = await _ended(visit)
    async with visit.form() as form:
        reason = text_of(form, "reason")

    def begin() -> int:
        with visit.store.read() as connection:
            against = why_no_switch(connection, found)
            to = load_variants(connection, [found.candidate])[found.candidate].deployment
        if against is not None:
            raise GateError(against)
        return begin_switch(visit.installation, found.task, to, by, on_evidence=True).id

    try:
        if visit.desk is None or visit.desk.gateway() is None:
            raise NotReadyError(NOT_RUNNING)
        by = visit.by(reason)
        rollout = await visit.do(begin)
    except ChangeoverError as failure:
        return await _shown(visit, found, status=failure.status, error=failure.message, reason=reason)
    visit.tell("Rollout {} began on this evidence.", rollout)
    return visit.go(f"/rollouts/{rollout}")


async def _found(visit: Visit) -> Verdict:
    """The comparison that the address names.

    Raises:
        UnknownTaskError: There is none, or none of theirs.
    """
    id = visit.parameter("comparison")
    found = await visit.read(lambda connection: find_verdict(connection, id[:40]))
    if found is None or not visit.person.may_see(found.task):
        raise UnknownTaskError(f"No comparison `{id[:40]}`. The page of comparisons lists all.")
    return found


async def _ended(visit: Visit) -> Verdict:
    """The same, where it has a verdict.

    Raises:
        UnknownTaskError: It has none yet.
    """
    found = await _found(visit)
    if found.verdict is None:
        raise UnknownTaskError(f"Comparison `{found.id}` has no verdict yet.")
    return found


PAGES: tuple[Page, ...] = (
    Page(path="/comparisons", endpoint=comparisons, right="look"),
    Page(path="/comparisons/now", endpoint=now_part, right="look"),
    Page(path="/comparisons/now/events", endpoint=now_events, right="look"),
    Page(path="/comparisons/{comparison}", endpoint=comparison, right="look"),
    Page(path="/comparisons/{comparison}/part", endpoint=part, right="look"),
    Page(path="/comparisons/{comparison}/events", endpoint=events, right="look"),
    Page(path="/comparisons/{comparison}/samples", endpoint=samples, right="look"),
    Page(path="/comparisons/{comparison}/report", endpoint=as_page, right="look"),
    Page(path="/comparisons/{comparison}/json", endpoint=as_document, right="look"),
    Page(path="/comparisons/{comparison}/switch", endpoint=switch, right="operate", methods=("POST",)),
    Page(path="/static/report.css", endpoint=style, right="look"),
)
