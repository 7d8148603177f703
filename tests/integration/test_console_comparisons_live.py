"""A comparison that is made, in a real browser: its page grows by itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from playwright.async_api import expect
from sqlalchemy import insert, select
from tests.integration.test_console_comparisons import one_under_way, some
from tests.support.browser import browsing, missing
from tests.support.console import BusyConsole

from changeover.app.asgi import serving
from changeover.app.listening import address_of, listen
from changeover.console.app import console
from changeover.console.desk import Desk
from changeover.evals.queries import compared_samples, end_comparison
from changeover.store.schema import comparison_samples

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

SEEN = """(seen) => {
  Object.defineProperty(document, "hidden", { value: !seen, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
"""Puts the page into the background, or back."""


def grow(busy: BusyConsole, id: str, samples: int) -> None:
    """Add the samples after those that are there."""
    whole = next(each for each in some(busy) if each.verdict is not None)
    with busy.installation.store.write() as connection:
        there = len(compared_samples(connection, id))
        rows = connection.execute(
            select(comparison_samples).where(
                comparison_samples.c.comparison == whole.id,
                comparison_samples.c.position > there,
                comparison_samples.c.position <= there + samples,
            )
        )
        connection.execute(insert(comparison_samples), [{**row, "comparison": id} for row in rows.mappings()])


@pytest.mark.usefixtures("looking_often")
async def test_a_page_that_is_open_shows_every_sample_and_then_the_report(busy_console: BusyConsole) -> None:
    installation = busy_console.installation
    ended = next(each for each in some(busy_console) if each.verdict is not None)
    assert ended.summary is not None
    id = one_under_way(busy_console, 5, ago=timedelta(minutes=1))
    desk, listener = Desk(installation), listen("127.0.0.1", 0)
    app = console(desk.gateway, hosts=("127.0.0.1",), most_body_bytes=1 << 20, desk=desk)
    ready = asyncio.Event()
    server = serving(app, ready.set, drain_s=1)
    running = asyncio.create_task(server.serve([listener]))
    await ready.wait()
    address = address_of(listener)
    try:
        async with browsing() as page:
            await page.goto(f"{address}/sign-in")
            await page.fill("input[name=key]", busy_console.keys["viewer"])
            await page.click("main form button")
            await page.goto(f"{address}/comparisons/{id}")
            drawn = page.locator("#live .tile dd").first
            await expect(drawn).to_contain_text("5 of at most")
            for count in (8, 11):  # twice: what was exchanged once is exchanged again
                grow(busy_console, id, 3)
                await expect(drawn).to_contain_text(f"{count} of at most")
            # Who looks elsewhere gives the connection back: a browser has six, and six such pages would take them all.
            async with page.expect_event("requestfailed", lambda request: request.url.endswith("/events")):
                await page.evaluate(SEEN, False)
            grow(busy_console, id, 3)
            await page.evaluate(SEEN, True)
            await expect(drawn).to_contain_text("14 of at most")
            with installation.store.write() as connection:
                assert ended.verdict is not None
                end_comparison(
                    connection, id, verdict=ended.verdict, summary=ended.summary, now=installation.clock.now()
                )
            await expect(page.locator(".report .stamp")).to_be_visible()
    finally:
        server.stop()
        await running
        await app.state.sessions.close()
