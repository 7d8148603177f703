"""Going through the console as somebody does who follows every link, and what holds for each page on the way."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from html.parser import HTMLParser

import httpx2

from changeover.console.app import PAGES
from changeover.console.guards import HEADERS

STREAMS = re.compile(r"[/-](events|stream)$")
GETS = [page for page in PAGES if "GET" in page.methods]
MOST_OF_A_KIND = 3
"""Pages of one row of the table that are looked at."""
MOST_PAGES = 150


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
    kept = answer.headers.get("content-disposition", "").startswith("attachment")  # a file, which is no page of ours
    if answer.headers.get("content-type", "").startswith("text/html") and not kept:
        strict = Strict()
        strict.feed(answer.text)
        assert strict.wrong == [], (str(answer.url), strict.wrong)


async def pages_of(client: httpx2.AsyncClient, most: int = MOST_PAGES) -> AsyncGenerator[httpx2.Response]:
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
