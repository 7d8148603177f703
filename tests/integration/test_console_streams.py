"""Pages that listen for changes: no more of them than somebody may have."""

from __future__ import annotations

import asyncio

import httpx2
from tests.support.console import BusyConsole

from changeover.app import keys as acts_on_keys
from changeover.console.routes import MOST_STREAMS
from changeover.evals.queries import newest_comparisons


async def test_a_key_has_no_more_than_so_many_streams_and_those_that_end_make_room(
    busy_console: BusyConsole,
) -> None:
    with busy_console.installation.store.read() as connection:
        id = newest_comparisons(connection, verdict="pass", limit=1)[0].id
    async with busy_console.signed_in("viewer") as client:
        session = busy_console.app.state.sessions.find(client.cookies["changeover_session"])
        for _ in range(2):
            assert "event: ended" in (await client.get(f"/comparisons/{id}/events")).text
            assert session.streams == 0
        session.streams = MOST_STREAMS
        refused = await client.get("/tasks-events")
        assert (refused.status_code, "Close some" in refused.text) == (429, True)
        assert (await client.get("/tasks")).status_code == 200
        async with busy_console.signed_in("viewer") as another_browser, busy_console.signed_in("admin") as somebody:
            assert (await another_browser.get("/tasks-events")).status_code == 429, "it is the same key"
            assert "event: ended" in (await somebody.get(f"/comparisons/{id}/events")).text
        session.streams = 0


async def test_an_open_stream_ends_soon_after_the_key_is_revoked_or_may_see_less(busy_console: BusyConsole) -> None:
    """Although nothing happens that it would tell of."""
    installation = busy_console.installation
    for change in (
        lambda: acts_on_keys.set_keys(installation, "leaver", "test", tasks=["no-such"]),
        lambda: acts_on_keys.revoke(installation, "leaver", "test"),
    ):
        secret = acts_on_keys.new_key(installation, "leaver", "test", role="viewer")
        async with busy_console.served() as address, httpx2.AsyncClient(base_url=address) as browser:
            assert (await browser.post("/sign-in", data={"key": secret})).status_code == 303
            async with browser.stream("GET", "/tasks-events") as answer:
                parts = answer.aiter_text()
                assert "retry" in await anext(parts)
                change()
                async with asyncio.timeout(20):
                    assert "changed" not in "".join([part async for part in parts])
