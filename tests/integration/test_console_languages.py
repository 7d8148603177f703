"""Pages in another language hold no sentence that could have been said in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from tests.support.console import BusyConsole

from changeover.console.languages import ENGLISH, LANGUAGES
from changeover.console.said import said

OTHERS = [language for language in LANGUAGES if language != ENGLISH]
WITHIN = frozenset({"code", "b", "em", "q", "strong"})
"""Tags that stand within a sentence."""
NOT_READ = frozenset({"script", "style", "pre", "textarea"})
SAID_ASIDE = ("title", "aria-label", "placeholder")
LEAST_WORDS = 3
PAGES = (
    "/tasks",
    "/rollouts",
    "/comparisons",
    "/library?scores=now",
    "/library/timeline",
    "/library/gemma-3-12b-it",
    "/library/gemma-3-12b-it/scores",
    "/deployments/plan?model=gemma-3-12b-it",
    "/lock-in/report",
    "/audit",
    "/rollouts/nothing",
    "/library/timeline?family=nothing",
)
LED_TO = (r"/rollouts/\d+", r"/comparisons/[\w-]+", r"/trials/\d+")
"""Pages of one thing, of which the first few that are linked are looked at."""
MOST = 4


class Sentences(HTMLParser):
    """What stands between the tags of a page, and in what browsers show or read out of them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._quiet, self._now = 0, ""
        self.feed(text)
        self._end()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in SAID_ASIDE and value]
        self._quiet += tag in NOT_READ
        self._mark(tag)

    def handle_endtag(self, tag: str) -> None:
        self._mark(tag)
        self._quiet -= tag in NOT_READ

    def handle_data(self, data: str) -> None:
        self._now += "" if self._quiet else data

    def _mark(self, tag: str) -> None:
        if tag == "code":
            self._now += "`"
        elif tag not in WITHIN:
            self._end()

    def _end(self) -> None:
        if self._now.strip():
            self.found.append(" ".join(self._now.split()))
        self._now = ""


def left_in_english(page: str, language: str) -> set[str]:
    return {
        each
        for each in Sentences(page).found
        if len(re.findall(r"[A-Za-z]{2,}", each)) >= LEAST_WORDS and said(language, each) != each
    }


@pytest.mark.parametrize("language", OTHERS)
async def test_no_sentence_of_ours_is_left_in_english(busy_console: BusyConsole, language: str) -> None:
    left: dict[str, set[str]] = {}
    async with busy_console.signed_in(language=language) as client:
        waiting = list(PAGES)
        for pattern in LED_TO:
            listed = await client.get(pattern.split("\\")[0].rsplit("/", 1)[0].removesuffix("/[") or "/trials")
            waiting += sorted(set(re.findall(f'href="({pattern})"', listed.text)))[:MOST]
        for address in waiting:
            answer = await client.get(address)
            assert answer.status_code in (200, 404), address
            if found := left_in_english(answer.text, language):
                left[address] = found
    assert not left, "\n".join(f"{address}: {each}" for address, found in left.items() for each in sorted(found))


def test_an_english_page_would_be_noticed() -> None:
    assert left_in_english("<p>the evaluation failed</p><p>nobody wrote this here</p>", "ja") == {
        "the evaluation failed"
    }
    assert left_in_english("<p>Run <code>x</code>: 3 of 4 samples failed</p>", "ja") == set()
