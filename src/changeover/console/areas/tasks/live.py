"""Who answers what share of a task now: a part of its page that follows the traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup
from sqlalchemy import Connection
from starlette.responses import Response

from changeover.app.standing import Standing
from changeover.console import charts
from changeover.console.areas.tasks.about import about
from changeover.console.following import following
from changeover.console.languages import translated
from changeover.console.said import said
from changeover.console.visit import Visit
from changeover.tasks.queries import current_route
from changeover.tasks.traffic_queries import Seen, newest_mark, percentile, seen_since

MINUTES = 15
MOST_SEEN = 500
NOBODY = "nobody"
ORDER = ("incumbent", "candidate", "former", NOBODY)
Who = tuple[str, str]
"""Side and deployment."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """Requests that one deployment answered on one side."""

    side: str
    deployment: str
    requests: int
    share: float
    per_minute: float
    failed: int
    p50: float | None


@dataclass(frozen=True, kw_only=True)
class Split:
    """The last minutes of a task."""

    sides: list[Side]
    chart: Markup
    requests: int
    minutes: float
    """That they are spread over: fewer than `MINUTES` where there were more than are looked at."""
    shadow_share: float
    weight: float


def split_of(connection: Connection, standing: Standing, now: datetime, language: str) -> Split:
    """Who answered what share, of the newest requests of the last minutes."""
    seen = seen_since(connection, standing.task, now - timedelta(minutes=MINUTES), MOST_SEEN)
    full = len(seen) >= MOST_SEEN
    minutes = max((now - seen[-1].started_at).total_seconds() / 60, 1 / 60) if full else float(MINUTES)
    by_who: dict[Who, list[Seen]] = {}
    for each in seen:
        by_who.setdefault(_who(each), []).append(each)
    sorted_ = dict(sorted(by_who.items(), key=lambda each: (ORDER.index(each[0][0]), each[0][1])))
    sides = [
        Side(
            side=side,
            deployment=deployment,
            requests=len(of),
            share=len(of) / len(seen),
            per_minute=len(of) / minutes,
            failed=sum(each.failed for each in of),
            p50=percentile([each.duration_ms for each in of if each.status < 300], 0.5),
        )
        for (side, deployment), of in sorted_.items()
    ]
    return Split(
        sides=sides,
        chart=_chart(sorted_, now, language) if seen else Markup(""),
        requests=len(seen),
        minutes=minutes,
        shadow_share=standing.route.shadow_share,
        weight=standing.route.candidate_weight,
    )


def _who(seen: Seen) -> Who:
    """Side and deployment that answered."""
    if seen.deployment is None or seen.side not in ORDER:
        return NOBODY, ""
    return seen.side, seen.deployment


def _chart(by_who: Mapping[Who, list[Seen]], now: datetime, language: str) -> Markup:
    """Requests in each minute, by who answered."""
    series: dict[str, list[float | None]] = {}
    alone = Counter(side for side, _ in by_who)
    for (side, deployment), seen in by_who.items():
        minutes = Counter(int((now - each.started_at).total_seconds() // 60) for each in seen)
        name = translated(language, side)
        series[name if alone[side] == 1 else f"{name} {deployment}"] = [
            minutes[MINUTES - 1 - place] for place in range(MINUTES)
        ]
    labels = [f"−{MINUTES - 1 - place} min" for place in range(MINUTES - 1)] + [translated(language, "now")]
    says = said(language, f"requests in each of the last {MINUTES} minutes, by who answered")
    return charts.bars(labels, series, says, ticks=4)


async def part(visit: Visit) -> Response:
    """The part of the page alone."""
    task = await about(visit)
    now = visit.installation.clock.now()
    split = await visit.read(lambda connection: split_of(connection, task.standing, now, visit.language))
    return visit.part("tasks/live.html", split=split, standing=task.standing)


async def events(visit: Visit) -> Response:
    """Says whenever there were requests, or another route, or a minute went by."""
    task = visit.parameter("task")
    visit.require_task(task)
    clock = visit.installation.clock

    def look(connection: Connection) -> Hashable:
        route = current_route(connection, task)
        return newest_mark(connection, task), None if route is None else route.revision, clock.now().minute

    return await following(lambda: visit.read(look))
