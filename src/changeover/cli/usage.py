"""`changeover usage`: who used how much, and what it costs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from changeover.app.usage import as_csv, fields_of, hour_of, next_hour, no_price
from changeover.cli.frame import Json, note, out, plain, print_json
from changeover.cli.running import opened
from changeover.cli.when import moment
from changeover.core.errors import ConfigError, nearest
from changeover.gateway.limits import MICRO
from changeover.gateway.usage_queries import FACETS, Facet, UsageLine, total_of, usage_lines

app = typer.Typer(add_completion=False)

NONE = "–"


@app.command()
def usage(
    by: Annotated[
        str, typer.Option(help="One or more of team, task, deployment, key, day, hour, with commas.")
    ] = "team,task",
    since: Annotated[str, typer.Option(help="`7d`, `12h`, or a date; in UTC, by whole hours.")] = "30d",
    until: Annotated[str | None, typer.Option(help="The same; without: now.")] = None,
    internal: Annotated[
        bool, typer.Option("--internal", help="Shadow, judge and evaluation traffic instead, charged to nobody.")
    ] = False,
    format: Annotated[Literal["table", "csv", "json"], typer.Option(help="How to print it.")] = "table",
    as_json: Json = False,
) -> None:
    """Report requests, tokens and cost for chargeback, from counters that are exact whatever is kept of the content.

    Works while the system is down. Costs are by the prices in changeover.toml at the time of each request.

    Example: changeover usage --by team,task --since 2026-11-01 --format csv
    """
    installation = opened()
    facets = _facets(by)
    now = installation.clock.now()
    begin = hour_of(moment(since, now, "--since"))
    end = next_hour(now if until is None else moment(until, now, "--until"))
    if begin >= end:
        raise ConfigError(f"`--since {since}` is not before `--until {until or 'now'}`.")
    with installation.store.read() as connection:
        lines = usage_lines(connection, facets, begin, end, internal=internal)
    if as_json or format == "json":
        print_json(_document(facets, lines, begin, end, internal=internal))
    elif format == "csv":
        sys.stdout.write(as_csv(facets, lines))
    else:
        about = "internal traffic" if internal else "requests of applications"
        note(f"{about}, {begin:%Y-%m-%d %H:%M} to {min(end, now):%Y-%m-%d %H:%M} UTC")
        out.print(_table(facets, lines))


def _facets(by: str) -> tuple[Facet, ...]:
    found: list[Facet] = []
    for name in (part.strip() for part in by.split(",")):
        if name not in FACETS:
            raise ConfigError(f"`--by`: usage is not counted by `{name}`. {nearest(name, FACETS)}")
        if name in found:
            raise ConfigError(f"`--by`: `{name}` is there twice.")
        found.append(name)
    return tuple(found)


def _document(
    facets: Sequence[Facet], lines: Sequence[UsageLine], since: datetime, until: datetime, *, internal: bool
) -> dict[str, Any]:
    return {
        "by": facets,
        "since": since,
        "until": until,
        "internal": internal,
        "lines": [fields_of(facets, line) for line in lines],
        "total": fields_of((), total_of(lines)),
    }


def _table(facets: Sequence[Facet], lines: Sequence[UsageLine]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0), show_footer=bool(lines))
    total = _numbers(total_of(lines))
    for place, facet in enumerate(facets):
        table.add_column(facet, footer="total" if place == 0 else "", overflow="fold")
    names = ("requests", "failed", "prompt tokens", "completion tokens", "estimated", "USD")
    for name, sum_ in zip(names, total, strict=True):
        table.add_column(name, footer=sum_, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(*(plain(value or NONE) for value in line.of), *_numbers(line))
    if not lines:
        table.add_row("nothing was counted")
    return table


def _numbers(line: UsageLine) -> tuple[str, ...]:
    share = f"{100 * line.estimated / line.requests:.0f} %" if line.estimated else NONE
    cost = line.cost_microusd / MICRO
    dollars = f"{cost:,.4f}" if 0 < cost < 1 else f"{cost:,.2f}"
    if no_price(line):
        dollars = NONE
    elif line.unpriced:
        dollars += f" + {line.unpriced:,} unpriced"
    counts = (line.requests, line.failed, line.prompt_tokens, line.completion_tokens)
    return (*(f"{count:,}" for count in counts), share, dollars)
