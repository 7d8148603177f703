"""What hostile models, callers and colleagues write, on every page that shows a text: it is shown, and nothing of it runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Dialog
from sqlalchemy import String, Table, Text, select, update
from tests.support import browser, console
from tests.support.console import BusyConsole
from tests.support.crawling import check, pages_of

from changeover.app.asgi import serving
from changeover.app.listening import address_of, listen
from changeover.console.app import console as made
from changeover.console.desk import Desk
from changeover.store.schema import metadata

MARK = "pwned"
ATTACKS = (
    f"<{MARK}-tag>",
    f"<script>window.{MARK}=1;alert(1)</script>",
    f'"><img src=x onerror="window.{MARK}=1">',
    f"'><svg onload=window.{MARK}=1>",
    f"</textarea></title></pre><script>window.{MARK}=1</script>",
    f"[click](javascript:window.{MARK}=1) ![x](https://elsewhere.example/{MARK}.png)",
    f"{{{{ {MARK} }}}} {{% raw %}} ${{{MARK}}}",
    f'<a href="data:text/html,<script>{MARK}</script>" style="background:url(//{MARK})">x</a>',
)
TURNED = "\u202e"
"""Has a browser write what follows from right to left, so that a reason reads otherwise than it is written."""
ATTACK = f"x {' '.join(ATTACKS)} {TURNED}yes"
WRITTEN = {
    "routes": ("reason",),
    "rollouts": ("reason",),
    "rollout_events": ("reason", "actor"),
    "approvals": ("reason", "actor"),
    "overrides": ("reason", "approver"),
    "audit": ("reason", "actor", "subject"),
    "deployments": ("detail",),
    "exchanges": ("request", "response"),
    "answers": ("text", "error"),
    "scores": ("error",),
    "shadow_scores": ("error",),
    "feedback": ("comment",),
    "licence_texts": ("reason",),
    "keys": ("name",),
}
"""By table: what people, callers, models and engines write freely."""


def poisoned(value: str) -> str:
    """A text with every attack in it; of one that is JSON, in each of its contents."""
    try:
        document = json.loads(value)
    except ValueError:
        return f"{value} {ATTACK}"
    return json.dumps(_inside(document)) if isinstance(document, dict | list) else f"{value} {ATTACK}"


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: f"{each} {ATTACK}" if name in ("content", "text") and isinstance(each, str) else _inside(each)
            for name, each in value.items()  # pyright: ignore[reportUnknownVariableType]
        }
    return [_inside(each) for each in value] if isinstance(value, list) else value


def poison(table: Table, columns: tuple[str, ...], busy: BusyConsole) -> None:
    [key] = list(table.primary_key)[:1]
    with busy.installation.store.write() as connection:
        for row in connection.execute(select(table)).mappings().all():
            values: dict[str, str] = {}
            for name in columns:
                kind = table.c[name].type
                if row[name] is None:
                    continue
                room = kind.length if isinstance(kind, String) and not isinstance(kind, Text) else None
                values[name] = poisoned(row[name]) if room is None else f"x{ATTACKS[row_number(row) % 4]}"[:room]
            if values:
                connection.execute(update(table).where(table.c[key.name] == row[key.name]).values(values))


def row_number(row: Any) -> int:
    return sum(map(ord, str(next(iter(row.values())))))


@pytest.fixture(scope="module")
def hostile(busy_console: BusyConsole) -> BusyConsole:
    """The busy console once everybody in it was hostile."""
    for name, columns in WRITTEN.items():
        poison(metadata.tables[name], columns, busy_console)
    for file in (busy_console.directory / "tasks").glob("*.toml"):
        _describe(file)
    opened = console.over(busy_console.directory, **busy_console.keys)
    assert not opened.installation.problems
    return opened


def _describe(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("description = ")]
    file.write_text(f"description = {json.dumps(ATTACK)}\n" + "\n".join(lines) + "\n", encoding="utf-8")


class Seen(HTMLParser):
    """Tags and attributes that only an attack could have made; and whether it is shown as a text."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []
        self.shown = False
        self.typed = False
        """Within a field: what somebody types again has to stay as it is."""

    def handle_endtag(self, tag: str) -> None:
        self.typed = self.typed and tag != "textarea"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.typed = self.typed or tag == "textarea"
        if MARK in tag:
            self.made.append(tag)
        self.made += [f"{tag} {name}={value}" for name, value in attrs if MARK in name]
        self.made += [
            f"{tag} {name}={value}"
            for name, value in attrs
            if name in ("href", "src", "action")
            and ((value or "").startswith(("javascript:", "data:")) or "elsewhere.example" in (value or ""))
        ]

    def handle_data(self, data: str) -> None:
        self.shown = self.shown or MARK in data
        if TURNED in data and not self.typed:
            self.made.append(f"turned: {data[:200]!r}")


@pytest.mark.parametrize("language", ["en", "ja"])
async def test_every_page_shows_what_was_written_and_makes_nothing_of_it(hostile: BusyConsole, language: str) -> None:
    showing: set[str] = set()
    async with hostile.signed_in("admin", language) as admin:
        async for answer in pages_of(admin):
            check(answer)
            if answer.headers.get("content-disposition") or "html" not in answer.headers.get("content-type", ""):
                continue
            assert answer.status_code < 500 or answer.status_code == 503, str(answer.url)
            seen = Seen()
            seen.feed(answer.text)
            assert seen.made == [], (str(answer.url), seen.made)
            if seen.shown:
                showing.add(answer.url.path.split("/")[1])
    assert {"tasks", "rollouts", "audit", "keys"} <= showing, "else nothing was tried"


@pytest.fixture
async def address(hostile: BusyConsole) -> AsyncGenerator[str]:
    """The hostile console on a real socket."""
    listener, desk = listen("127.0.0.1", 0), Desk(hostile.installation)
    app = made(desk.gateway, hosts=("127.0.0.1",), most_body_bytes=console.MOST_BODY, desk=desk)
    listening = asyncio.Event()
    server = serving(app, listening.set, drain_s=1)
    served = asyncio.create_task(server.serve([listener]))
    await listening.wait()
    yield address_of(listener)
    server.stop()
    await served
    listener.close()
    await app.state.sessions.close()


@pytest.mark.skipif(browser.missing() is not None, reason=browser.missing() or "")
async def test_a_browser_runs_nothing_of_what_was_written(hostile: BusyConsole, address: str) -> None:
    dialogs: list[str] = []

    async def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        await dialog.dismiss()

    async with browser.browsing() as page:
        page.on("dialog", dismiss)
        await page.goto(f"{address}/sign-in")
        await page.fill("#key", hostile.keys["admin"])
        await page.press("#key", "Enter")
        await page.wait_for_url(f"{address}/tasks")
        for path in ("/tasks", "/audit", "/keys", "/rollouts"):
            await page.goto(address + path)
            assert MARK in await page.content()
            assert await page.evaluate(f"typeof window.{MARK}") == "undefined", path
        await page.goto(f"{address}/rollouts")
        await page.locator("main a[href^='/rollouts/']").first.click()
        await page.wait_for_load_state()
        assert await page.evaluate(f"typeof window.{MARK}") == "undefined"
    assert dialogs == []
