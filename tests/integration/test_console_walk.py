"""Every page of the console with every role, every form without its token, and what a hostile author writes on every page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from docs.rights import COMMANDS_OF, deed_of
from starlette.routing import Mount, Route
from tests.support.console import BusyConsole
from tests.support.crawling import STREAMS, check, pages_of

from changeover.cli.main import COMMANDS
from changeover.console.app import PAGES
from changeover.console.routes import Page
from changeover.gateway.keys import RIGHTS, roles_with
from changeover.gateway.routes import ADMIN_TASKS, DEEDS, ROUTES

FOR_STRANGERS = {"/", "/sign-in", "/sign-in/provider", "/sign-in/return", "/sign-out", "/language"}
"""Addresses beside the table of pages."""


def addressed(page: Page, given: Mapping[str, str]) -> str:
    """An address of a page; what it is about need not be there."""
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda part: given.get(part[1], "1"), page.path)


def forms() -> Iterator[tuple[Page, str]]:
    for page in PAGES:
        for method in page.methods:
            if method not in ("GET", "HEAD"):
                yield page, method


POSTS = list(forms())


async def answered(client: httpx2.AsyncClient, method: str, path: str, **more: Any) -> tuple[int, httpx2.Headers]:
    """Status and headers; of a stream no more than its beginning."""
    try:
        async with asyncio.timeout(20), client.stream(method, path, **more) as answer:
            return answer.status_code, answer.headers
    except TimeoutError:
        return 200, httpx2.Headers()


def test_every_address_is_in_the_table_of_pages_or_for_strangers(busy_console: BusyConsole) -> None:
    paths = {route.path for route in busy_console.app.routes if isinstance(route, Route)}
    assert paths == FOR_STRANGERS | {page.path for page in PAGES}
    assert {route.path for route in busy_console.app.routes if isinstance(route, Mount)} == {
        "/static",
        "/static/htmx",
    }
    assert not [route for route in busy_console.app.routes if not isinstance(route, Route | Mount)]


def test_a_deed_takes_the_same_right_by_the_api_and_by_every_form_and_is_a_command() -> None:
    for deed, right in DEEDS.items():
        forms = [page for page, _ in POSTS if deed_of(page) == deed]
        assert forms, deed
        assert {page.right for page in forms} == {right}, deed
        assert deed in COMMANDS
        routes = [route for route in ROUTES if route.path == f"{ADMIN_TASKS}/{{task}}/{deed}"]
        assert [route.roles for route in routes] == [roles_with(right)]
    assert set(COMMANDS_OF.values()) <= set(COMMANDS)


async def test_a_stranger_is_asked_to_sign_in_on_every_page(busy_console: BusyConsole) -> None:
    async with busy_console.signed_in(None) as stranger:
        for page in PAGES:
            for method in page.methods:
                status, headers = await answered(stranger, method, addressed(page, {}))
                assert (status, headers.get("location")) == (303, "/sign-in"), (method, page.path)


@pytest.mark.parametrize("role", RIGHTS)
async def test_every_page_lets_in_the_roles_that_have_its_right_and_nobody_else(
    busy_console: BusyConsole, role: str
) -> None:
    """Whoever is let in may still be told that there is no such thing; a form without its token goes no further."""
    async with busy_console.signed_in(role) as somebody:
        for page in PAGES:
            for method in page.methods:
                path = addressed(page, {})
                if STREAMS.search(page.path) and page.right in RIGHTS[role]:
                    continue  # of something that is there it does not end
                status, headers = await answered(somebody, method, path)
                if page.right not in RIGHTS[role]:
                    assert status == 403, (role, method, page.path, status)
                elif method in ("GET", "HEAD"):
                    assert status != 403, (role, method, page.path, status)
                assert headers.get("location") != "/sign-in", (role, method, page.path)
                assert status < 500 or status == 503, (role, method, page.path, status)


@pytest.mark.parametrize(("page", "method"), POSTS, ids=lambda each: each.path if isinstance(each, Page) else each)
async def test_no_form_does_anything_without_its_token_or_from_another_site(
    busy_console: BusyConsole, page: Page, method: str
) -> None:
    path = addressed(page, {})
    async with busy_console.signed_in("admin") as admin:
        for fields in ({}, {"csrf": ""}, {"csrf": "form-guessed"}):
            status, _ = await answered(admin, method, path, data={"reason": "x", **fields})
            # Without a gateway some cannot tell what the form is of; `test_console` sends them where one runs.
            assert status in (403, 404, *((503,) if page.everywhere else ())), (page.path, status)
        session = busy_console.app.state.sessions.find(admin.cookies["changeover_session"])
        for origin in ({"origin": "https://elsewhere.example"}, {"sec-fetch-site": "cross-site"}):
            status, _ = await answered(admin, method, path, data={"csrf": session.csrf, "reason": "x"}, headers=origin)
            assert status == 403, page.path


@pytest.mark.parametrize("language", ["en", "ja"])
async def test_no_page_has_a_script_or_a_style_in_it_and_all_forbid_them(
    busy_console: BusyConsole, language: str
) -> None:
    shown = 0
    async with busy_console.signed_in("admin", language) as admin:
        async for answer in pages_of(admin):
            check(answer)
            assert answer.status_code < 500 or answer.status_code == 503, (str(answer.url), answer.text[-500:])
            shown += answer.status_code == 200
    async with busy_console.signed_in(None) as stranger:
        check(await stranger.get("/sign-in"))
    assert shown > 8


def sources() -> Iterator[Path]:
    yield from (Path(__file__).parents[2] / "src/changeover/console/templates").rglob("*.html")


def test_no_template_takes_the_escaping_off_a_text() -> None:
    """What lays a text out, `shown`, gives markup by itself."""
    wrong = [
        str(file)
        for file in sources()
        if re.search(r"\|\s*safe\b|autoescape\s+false|\bMarkup\b", file.read_text(encoding="utf-8"))
    ]
    assert wrong == []
