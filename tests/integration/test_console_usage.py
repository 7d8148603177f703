"""The usage page's table says what the report says, whatever it is summed by and over whichever time."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from tests.support.console import BusyConsole

from changeover.app.usage import hour_of, next_hour
from changeover.gateway.usage_queries import Facet, total_of, usage_lines

ROW = re.compile(r'<th scope="row">(?:<a [^>]*>)?([^<]*).*?<td class="num"[^>]*>([\d,]+)</td>', re.DOTALL)


@pytest.mark.parametrize(
    ("by", "period", "hours"), [("task", "24h", 24), ("team", "7d", 168), ("deployment", "30d", 720)]
)
async def test_the_table_of_usage_has_the_lines_of_the_report(
    busy_console: BusyConsole, by: Facet, period: str, hours: int
) -> None:
    async with busy_console.signed_in("viewer") as client:
        page = (await client.get("/usage", params={"by": by, "period": period})).text
    now = busy_console.installation.clock.now()
    with busy_console.installation.store.read() as connection:
        since = hour_of(now - timedelta(hours=hours))
        lines = usage_lines(connection, (by,), since, next_hour(now), internal=False)
    shown = [(unescape(name), int(count.replace(",", ""))) for name, count in ROW.findall(page)]
    assert sorted(count for _, count in shown) == sorted(line.requests for line in lines)
    assert {line.of[0] for line in lines if line.of[0]} <= {name for name, _ in shown}
    assert f"<dd>{total_of(lines).requests}" in re.sub(r"\s", "", page)
