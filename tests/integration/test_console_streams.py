"""Pages that listen for changes: no more of them than somebody may have."""

from __future__ import annotations

from tests.support.console import BusyConsole

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
