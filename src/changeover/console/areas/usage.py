"""What was asked and what it cost, by team, task and deployment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from markupsafe import Markup
from sqlalchemy import Connection
from starlette.responses import PlainTextResponse, Response

from changeover.app.usage import as_csv, hour_of, next_hour, no_price
from changeover.console import charts
from changeover.console.languages import translated
from changeover.console.pages import NOTHING, usd
from changeover.console.routes import Page
from changeover.console.said import said
from changeover.console.visit import Visit
from changeover.gateway.usage_queries import Facet, UsageLine, total_of, totals_by, usage_lines

FACETS: tuple[Facet, ...] = ("team", "task", "deployment", "key")
"""By which the page sums up."""
PERIODS: Mapping[str, timedelta] = {
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
}
NOBODYS: Mapping[Facet, str] = {
    "team": "no team",
    "key": "no key",
    "task": "no task",
    "deployment": "no deployment",
}
"""How a line is called that belongs to none."""
OTHERS = "all others"
"""How those are called, together, that have no colour of their own."""
MOST_DRAWN = 6
"""Series of the chart; what is left is one more."""
MOST_ROWS = 300


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the page is asked for."""

    by: Facet
    period: str
    internal: bool
    since: datetime
    until: datetime

    def address(self, **other: str) -> str:
        """The same with something changed."""
        asked = {"by": self.by, "period": self.period, "internal": "1" if self.internal else ""} | other
        return f"/usage?{urlencode({name: value for name, value in asked.items() if value})}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table."""

    of: str
    line: UsageLine
    share: float
    """Of all requests, 0 to 1."""
    cost: str
    unpriced: int
    """Requests of which nobody knows what they cost, while others have a price."""


async def usage(visit: Visit) -> Response:
    """Totals, a chart over time, and a line for each team, task, deployment or key."""
    asked = _asked(visit)

    def look(connection: Connection) -> list[UsageLine]:
        over_time: Facet = "hour" if asked.period == "24h" else "day"
        return usage_lines(connection, (over_time, asked.by), asked.since, asked.until, internal=asked.internal)

    by_time = [line for line in await visit.read(look) if _theirs(visit, asked, line.of[1])]
    lines = totals_by(by_time, 1)
    total = total_of(lines)
    return visit.page(
        "usage/usage.html",
        asked=asked,
        facets=_facets(visit),
        periods=list(PERIODS),
        nobodys=NOBODYS[asked.by],
        total=total,
        total_cost=cost_of(total),
        total_unpriced=unpriced_of(total),
        rows=rows_of(lines, total)[:MOST_ROWS],
        left_out=max(0, len(lines) - MOST_ROWS),
        chart=chart_of(by_time, asked, visit.language),
    )


async def as_file(visit: Visit) -> Response:
    """The same lines for a spreadsheet."""
    asked = _asked(visit)
    lines = await visit.read(
        lambda connection: usage_lines(connection, (asked.by,), asked.since, asked.until, internal=asked.internal)
    )
    text = as_csv((asked.by,), [line for line in lines if _theirs(visit, asked, line.of[0])])
    name = f"usage-by-{asked.by}-{asked.since:%Y-%m-%d}.csv"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return PlainTextResponse(text, headers=headers, media_type="text/csv")


def _asked(visit: Visit) -> Asked:
    facets = _facets(visit)
    by: Facet = facets[0]
    for facet in facets:
        by = facet if facet == visit.query("by") else by
    period = visit.query("period") if visit.query("period") in PERIODS else "30d"
    now = visit.installation.clock.now()
    return Asked(
        by=by,
        period=period,
        internal=visit.query("internal") == "1",
        since=hour_of(now - PERIODS[period]),
        until=next_hour(now),
    )


def _facets(visit: Visit) -> Sequence[Facet]:
    """By what they may have it summed up: teams, deployments and keys are used for the tasks of others too."""
    return FACETS if visit.person.tasks is None else ("task",)


def _theirs(visit: Visit, asked: Asked, of: str) -> bool:
    """Whether a line is theirs to see."""
    return visit.person.tasks is None or (asked.by == "task" and visit.person.may_see(of))


def cost_of(line: UsageLine) -> str:
    """What it cost, as far as prices are known."""
    return NOTHING if no_price(line) else usd(line.cost_microusd)


def unpriced_of(line: UsageLine) -> int:
    """Requests without a price beside those that have one."""
    return 0 if no_price(line) else line.unpriced


def rows_of(lines: Sequence[UsageLine], total: UsageLine) -> list[Row]:
    """Lines of the table, the largest first."""
    ordered = sorted(lines, key=lambda line: (-line.requests, line.of))
    whole = max(1, total.requests)
    return [
        Row(
            of=line.of[0],
            line=line,
            share=line.requests / whole,
            cost=cost_of(line),
            unpriced=unpriced_of(line),
        )
        for line in ordered
    ]


def chart_of(by_time: Sequence[UsageLine], asked: Asked, language: str) -> Markup:
    """Requests over time, the largest by themselves and the rest together; nothing where there were none."""
    if not by_time:
        return Markup("")
    totals: dict[str, int] = defaultdict(int)
    counts: dict[tuple[str, str], int] = {}
    for line in by_time:
        at, of = line.of
        totals[of] += line.requests
        counts[at, of] = line.requests
    largest = sorted(totals, key=lambda of: (-totals[of], of))[:MOST_DRAWN]
    moments = _moments(asked)
    series: dict[str, list[float | None]] = {
        of or translated(language, NOBODYS[asked.by]): [float(counts.get((at, of), 0)) for at in moments]
        for of in largest
    }
    rest = [of for of in totals if of not in largest]
    if rest:
        series[translated(language, OTHERS)] = [float(sum(counts.get((at, of), 0) for of in rest)) for at in moments]
    labels = [at[11:16] if asked.period == "24h" else at[5:10] for at in moments]
    says = said(language, f"requests by {asked.by}, {len(moments)} {'hours' if asked.period == '24h' else 'days'}")
    return charts.bars(labels, series, says, broad=True)


def _moments(asked: Asked) -> list[str]:
    """Hours or days, as the report names them."""
    step, form = (timedelta(hours=1), "%Y-%m-%d %H:%M") if asked.period == "24h" else (timedelta(days=1), "%Y-%m-%d")
    moments: list[str] = []
    at = asked.since if asked.period == "24h" else asked.since.replace(hour=0)
    while at < asked.until:
        moments.append(at.strftime(form))
        at += step
    return moments


PAGES: tuple[Page, ...] = (
    Page(path="/usage", endpoint=usage, right="look"),
    Page(path="/usage/csv", endpoint=as_file, right="look"),
)
