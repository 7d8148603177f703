"""Pages of tasks: what each says, and what can be done there."""

from __future__ import annotations

from tests.support.console import BusyConsole


async def test_every_task_stands_on_the_page_of_tasks(busy_console: BusyConsole) -> None:
    async with busy_console.signed_in("viewer") as client:
        page = await client.get("/tasks")
    assert page.status_code == 200
    assert all(name in page.text for name in busy_console.installation.tasks)
