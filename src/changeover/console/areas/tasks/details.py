"""The pages of one task that are made from its routes, variants, declarations and evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import unified_diff
from itertools import groupby
from typing import Any, Literal

from markupsafe import Markup
from sqlalchemy import Connection
from starlette.responses import Response

from changeover.app.applied import applied_tasks
from changeover.app.history import Happened, history_of
from changeover.app.named import Named, find_two
from changeover.console import charts
from changeover.console.areas.tasks.about import About, about, shown
from changeover.console.areas.tasks.lines import RATED
from changeover.console.areas.tasks.live import split_of
from changeover.console.languages import translated
from changeover.console.pages import milliseconds, usd
from changeover.console.said import said
from changeover.console.visit import Visit
from changeover.core.errors import ChangeoverError
from changeover.evals.queries import summaries_of, verdicts_of
from changeover.evals.trial_queries import trials_of_task
from changeover.gateway.usage_queries import Hour, deployments_of, hours_of
from changeover.rollouts.decide import Rollout
from changeover.rollouts.queries import rollouts_among
from changeover.serving.bundles import Difference, changes
from changeover.serving.queries import load_variants
from changeover.tasks.declarations import Task
from changeover.tasks.feedback import goods_of, newest_feedback_of
from changeover.tasks.queries import answering_since
from changeover.tasks.traffic_queries import durations_between, percentile

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SPANS: Mapping[str, tuple[timedelta, int, str]] = {"hour": (HOUR, 24, "%H:%M"), "day": (DAY, 30, "%m-%d")}
"""What a bar of a chart stands for, how many there are, and how each is labelled."""
MOST_TIMED = 60
"""Newest answers of an hour or a day that its latency is taken from."""
REVISIONS, VERDICTS, TRIALS, COMMENTS = 30, 15, 40, 12
PLACES = ("incumbent", "candidate", "former", "declared")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The charts of a task, and what they come to."""

    requests: Markup
    latency: Markup
    cost: Markup
    total: int
    failed: int
    cost_microusd: int
    priced: bool
    tokens: int
    by_deployment: list[tuple[str, Hour]]
    """Who answered how much; an empty name: nobody did."""


async def overview(visit: Visit) -> Response:
    """Who answers, how it goes now, and how it went."""
    task = await about(visit)
    by = "day" if visit.query("by") == "day" else "hour"
    now = visit.installation.clock.now()

    def look(connection: Connection) -> tuple[datetime, Figures, Any, tuple[int, int]]:
        rated = goods_of(connection, [task.name], now - RATED).get(task.name, (0, 0))
        return (
            answering_since(connection, task.standing.route),
            _figures(connection, task.name, by, now, visit.language),
            split_of(connection, task.standing, now, visit.language),
            rated,
        )

    since, figures, split, rated = await visit.read(look)
    return shown(visit, task, "", by=by, since=since, figures=figures, split=split, rated=rated)


def _figures(connection: Connection, task: str, by: str, now: datetime, language: str) -> Figures:
    step, count, label = SPANS[by]
    start = now.replace(minute=0, second=0, microsecond=0, hour=now.hour if by == "hour" else 0)
    starts = [start - step * (count - 1 - place) for place in range(count)]
    hours = hours_of(connection, starts[0], task)
    parts: list[list[Hour]] = [[] for _ in starts]
    for each in hours:
        parts[min(count - 1, int((each.hour - starts[0]) / step))].append(each)
    times = [durations_between(connection, task, at, at + step, MOST_TIMED) for at in starts]
    labels = [at.strftime(label) for at in starts]
    failed = [sum(each.failed for each in part) for part in parts]
    total = [sum(each.requests for each in part) for part in parts]
    cost = [sum(each.cost_microusd for each in part) for part in parts]
    latency = {
        translated(language, "median"): [percentile(each, 0.5) for each in times],
        "p95": [percentile(each, 0.95) for each in times],
    }
    priced = any(each.requests > each.unpriced for each in hours)
    timed = any(times)
    return Figures(
        requests=charts.bars(
            labels,
            {
                translated(language, "answered"): [all_ - bad for all_, bad in zip(total, failed, strict=True)],
                translated(language, "failed"): failed,
            },
            said(language, f"requests by {by}: {sum(total):,}, of which {sum(failed):,} failed"),
        )
        if sum(total)
        else Markup(""),
        latency=charts.lines(
            labels, latency, said(language, f"latency by {by}: median and 95th percentile"), figure=milliseconds
        )
        if timed
        else Markup(""),
        cost=charts.bars(labels, {translated(language, "cost"): cost}, said(language, f"cost by {by}"), figure=usd)
        if priced
        else Markup(""),
        total=sum(total),
        failed=sum(failed),
        cost_microusd=sum(cost),
        priced=priced,
        tokens=sum(each.tokens for each in hours),
        by_deployment=deployments_of(connection, starts[0], task),
    )


async def history(visit: Visit) -> Response:
    """Everything that happened to it, newest first, and the way back."""
    return await history_page(visit, await about(visit))


async def history_page(visit: Visit, task: About, *, error: str | None = None, status: int = 200) -> Response:
    """The same; where the way back was refused, with the reason."""
    before = visit.number("before")

    def look(connection: Connection) -> tuple[list[Happened], list[Chapter], datetime]:
        rows = history_of(connection, task.name, REVISIONS, before)
        return rows, chapters_of(connection, rows), answering_since(connection, task.standing.route)

    rows, chapters, since = await visit.read(look)
    values = {"chapters": chapters, "since": since, "before": before, "older": _older(rows), "error": error}
    return shown(visit, task, "history", status=status, **values)


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """What happened in one rollout, or without any."""

    rows: list[Happened]
    """Newest first."""
    rollout: Rollout | None = None
    incumbent: str = ""
    candidate: str = ""
    evidence: Mapping[str, Any] | None = None
    """Summary of what it was begun on."""


def chapters_of(connection: Connection, rows: Sequence[Happened]) -> list[Chapter]:
    """What happened, under the rollouts in which it did."""
    rollouts = rollouts_among(connection, {row.rollout for row in rows if row.rollout is not None})
    summaries = summaries_of(connection, {each.comparison for each in rollouts.values() if each.comparison})
    ids = {id for each in rollouts.values() for id in (each.incumbent, each.candidate)}
    names = {id: variant.deployment for id, variant in load_variants(connection, ids).items()}
    found: list[Chapter] = []
    for number, part in groupby(rows, key=lambda row: row.rollout):
        rollout = None if number is None else rollouts.get(number)
        if rollout is None:
            found.append(Chapter(rows=list(part)))
            continue
        found.append(
            Chapter(
                rows=list(part),
                rollout=rollout,
                incumbent=names[rollout.incumbent],
                candidate=names[rollout.candidate],
                evidence=summaries.get(rollout.comparison or ""),
            )
        )
    return found


def _older(rows: Sequence[Happened]) -> int | None:
    """The revision before which the next page begins."""
    revisions = [row.revision for row in rows if row.revision is not None]
    return min(revisions) if len(revisions) >= REVISIONS else None


@dataclass(frozen=True, kw_only=True)
class DiffLine:
    """A line of a difference between two texts."""

    kind: Literal["same", "gone", "new", "place"]
    text: str


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two variants beside each other."""

    a: Named
    b: Named
    changes: list[Difference]
    prompt: list[DiffLine]


async def variants(visit: Visit) -> Response:
    """Who stands where with which prompt, and what differs between two of them."""
    task = await about(visit)
    places = _places(task)
    a, b = visit.query("a", "incumbent"), visit.query("b", places[1] if len(places) > 1 else "incumbent")

    def look() -> Compared | str:
        try:
            one, other = find_two(visit.installation, f"{task.name}@{a}", f"{task.name}@{b}", task.name)
        except ChangeoverError as exc:
            return exc.message
        return Compared(
            a=one,
            b=other,
            changes=changes(one.bundle, other.bundle),
            prompt=diff_of(one.bundle.prompt, other.bundle.prompt),
        )

    found = await visit.do(look)
    compared, refusal = (None, found) if isinstance(found, str) else (found, None)
    return shown(visit, task, "variants", places=places, a=a, b=b, compared=compared, refusal=refusal)


def _places(task: About) -> list[str]:
    """Where somebody stands now."""
    standing = task.standing
    there = {
        "incumbent": True,
        "candidate": standing.route.candidate is not None or standing.under_way is not None,
        "former": standing.route.former is not None,
        "declared": task.declared is not None,
    }
    return [place for place in PLACES if there[place]]


def diff_of(old: str, new: str) -> list[DiffLine]:
    """What changed between two texts, line by line; of the same text nothing."""
    kinds: Mapping[str, Literal["same", "gone", "new", "place"]] = {" ": "same", "-": "gone", "+": "new", "@": "place"}
    lines = list(unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=3))[2:]
    return [DiffLine(kind=kinds.get(line[:1], "same"), text="" if line[:1] == "@" else line[1:]) for line in lines]


async def contract(visit: Visit) -> Response:
    """What is declared of it: as gateways answer by it, and whether the files say otherwise by now."""
    task = await about(visit)
    installation = visit.installation
    root = installation.project.root

    def look() -> Task | None:
        return applied_tasks(installation.store, root).get(task.name)

    applied = await visit.do(look)
    edited = (
        applied is not None and task.declared is not None and applied.document(root) != task.declared.document(root)
    )
    return shown(visit, task, "contract", applied=applied or task.declared, edited=edited)


async def results(visit: Visit) -> Response:
    """What was measured on it, and what those said who got its answers."""
    task = await about(visit)
    before, since = _moment(visit.query("before")), visit.installation.clock.now() - RATED

    def look(connection: Connection) -> dict[str, Any]:
        verdicts = verdicts_of(connection, task.name, before, VERDICTS + 1)
        said = newest_feedback_of(connection, task.name, COMMENTS, comments=True)
        ids = {id for each in verdicts for id in (each.incumbent, each.candidate)} | {each.variant for each in said}
        names = {id: each.deployment for id, each in load_variants(connection, ids).items()}
        return {
            "verdicts": verdicts[:VERDICTS],
            "older": verdicts[VERDICTS - 1].started_at.isoformat() if len(verdicts) > VERDICTS else None,
            "trials": [] if before else trials_of_task(connection, task.name, TRIALS),
            "comments": [] if before else said,
            "names": names,
            "rated": goods_of(connection, [task.name], since).get(task.name, (0, 0)),
        }

    return shown(visit, task, "results", before=before, **await visit.read(look))


def _moment(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None
