"""Every page of the console with every role, every form without its token, and what a hostile author writes on every page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.routing import Mount, Route
from tests.support.console import BusyConsole

from changeover.console.app import PAGES
from changeover.console.guards import HEADERS
from changeover.console.people import RIGHTS
from changeover.console.routes import Page

FOR_STRANGERS = {"/", "/sign-in", "/sign-in/provider", "/sign-in/return", "/sign-out", "/language"}
"""Addresses beside the table of pages."""
STREAMS = re.compile(r"/(events|stream)$")
VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})


def addressed(page: Page, given: Mapping[str, str]) -> str:
    """An address of a page; what it is about need not be there."""
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda part: given.get(part[1], "1"), page.path)


def forms() -> Iterator[tuple[Page, str]]:
    for page in PAGES:
        for method in page.methods:
            if method not in ("GET", "HEAD"):
                yield page, method


GETS = [page for page in PAGES if "GET" in page.methods]
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


class Strict(HTMLParser):
    """What a page has in it that its policy forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and not (given.get("src") or "").startswith("/static/")):
            self.wrong.append(f"<{tag}> {attrs}")
        if tag in ("iframe", "object", "embed", "base"):
            self.wrong.append(f"<{tag}>")
        for name, value in attrs:
            if name == "style" or name.startswith(("on", "hx-on")):
                self.wrong.append(f"<{tag} {name}={value!r}>")
            if name in ("href", "src", "action", "formaction", "hx-get", "hx-post"):
                scheme = (value or "").strip().lower()
                if scheme.startswith(("javascript:", "data:", "vbscript:")) or (name == "src" and "//" in scheme):
                    self.wrong.append(f"<{tag} {name}={value!r}>")


def check(answer: httpx2.Response) -> None:
    """The strict headers, and nothing in the page that they would stop."""
    for name, value in HEADERS.items():
        assert answer.headers[name] == value, (answer.url, name)
    if answer.headers.get("content-type", "").startswith("text/html"):
        strict = Strict()
        strict.feed(answer.text)
        assert strict.wrong == [], (str(answer.url), strict.wrong)


async def pages_of(client: httpx2.AsyncClient, most: int) -> AsyncGenerator[httpx2.Response]:
    """Pages as somebody finds them who follows links, one of each kind after the other, no more than `most`."""
    kinds = [(re.compile(re.sub(r"\\\{\w+(:\w+)?\\\}", "[^/?#]+", re.escape(page.path))), page) for page in GETS]
    waiting = [page.path for page in GETS if "{" not in page.path and not STREAMS.search(page.path)]
    seen: set[str] = set()
    looked: dict[str, int] = {}
    while waiting and len(seen) < most:
        path = waiting.pop(0)
        kind = next((page.path for pattern, page in kinds if pattern.fullmatch(path.partition("?")[0])), None)
        if path in seen or kind is None or STREAMS.search(kind) or looked.get(kind, 0) >= MOST_OF_A_KIND:
            continue
        seen.add(path)
        looked[kind] = looked.get(kind, 0) + 1
        answer = await client.get(path)
        yield answer
        if answer.headers.get("content-type", "").startswith("text/html"):
            waiting += [link.replace("&amp;", "&") for link in re.findall(r'href="(/[^"#]*)', answer.text)]


MOST_OF_A_KIND = 3
MOST_PAGES = 150


@pytest.mark.parametrize("language", ["en", "ja"])
async def test_no_page_has_a_script_or_a_style_in_it_and_all_forbid_them(
    busy_console: BusyConsole, language: str
) -> None:
    shown = 0
    async with busy_console.signed_in("admin", language) as admin:
        async for answer in pages_of(admin, MOST_PAGES):
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
