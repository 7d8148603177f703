"""The library's pages: they say what the commands say, unknown stays unknown, and texts of cards are no markup."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from html import unescape
from typing import Any

import httpx2
import pytest
from tests.support.console import BusyConsole, closed, over

from changeover.app.candidates import Candidates
from changeover.app.card_rows import sections_of
from changeover.app.coverage import counted_on
from changeover.app.fits import fits_on
from changeover.app.licence_position import standing_of
from changeover.app.model_search import search
from changeover.app.scoring import Scores
from changeover.app.shelf import Shelf, shelf_of
from changeover.app.timeline import timeline, told
from changeover.app.whole_card import whole_card
from changeover.console.areas.library.held import Held
from changeover.library.cards import Card
from changeover.library.coverage import SCENARIOS
from changeover.library.fit import Hardware, fit
from changeover.library.scores.engines import Registry, ask_engines
from changeover.library.search.filters import Filters, filtered

MOST = 20
HOSTILE = """
[[cards]]
id = "hostile"
display_name = "<script>alert(1)</script>"
family = "<b>family"
vendor = "\\"><img src=x onerror=alert(1)>"
note = "<script>alert(2)</script>"
lineage = { base = "<svg onload=alert(3)>" }
claims = [
  { words = "<script>alert(4)</script>", said_by = "<i>", where = "javascript:alert(5)", checkable = true },
]
sources = [{ facts = ["everything"], at = "javascript:alert(6)", grade = "vendor", checked = 2026-01-01 }]
"""


@pytest.fixture
async def viewer(busy_console: BusyConsole) -> AsyncGenerator[httpx2.AsyncClient]:
    async with busy_console.signed_in("viewer") as client:
        yield client


@pytest.fixture
def shelf(busy_console: BusyConsole) -> Shelf:
    return shelf_of(busy_console.installation)


def text_of(page: str) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page)))


def said(text: str) -> str:
    """A text as it stands in a page, whose backticks are tags."""
    return re.sub(r"\s+", " ", text.replace("`", " ")).strip()


def models_in(page: str) -> list[str]:
    """Ids in the list, in order."""
    return re.findall(r'<th scope="row"><a href="/library/[^"]+">([^<]+)</a>', page)


@pytest.mark.parametrize("query", ["I need to read invoices", "請求書を読み取りたい", "gemma"])
async def test_a_search_finds_what_the_command_finds(viewer: httpx2.AsyncClient, shelf: Shelf, query: str) -> None:
    page = (await viewer.get("/library", params={"q": query})).text
    everything = filtered(shelf.catalogue.cards(), Filters(), outcome=lambda card: shelf.judgement(card).outcome)
    found = search(shelf, query, everything, MOST)
    assert models_in(page) == [hit.card.id for hit in found.hits]
    assert f"{len(found.hits)} model" in page
    assert "changeover models" in page


async def test_the_list_has_every_card_and_what_is_here_comes_first(viewer: httpx2.AsyncClient, shelf: Shelf) -> None:
    found = models_in((await viewer.get("/library")).text)
    assert sorted(found) == sorted(card.id for card in shelf.catalogue.cards())
    here = [shelf.presence(shelf.catalogue.card(id)).at_all for id in found]
    assert any(here)
    assert here == sorted(here, reverse=True)


async def test_filters_leave_out_what_does_not_pass_and_count_what_nobody_knows(
    viewer: httpx2.AsyncClient, shelf: Shelf
) -> None:
    asked = {"vendor": "Alibaba", "licence": "allow", "size": "15", "fits": "here"}
    page = (await viewer.get("/library", params=asked)).text
    expected = filtered(
        shelf.catalogue.cards(),
        Filters(vendor="Alibaba", licence="allow", max_size_b=15),
        outcome=lambda card: shelf.judgement(card).outcome,
        fits=fits_on(shelf, "here"),
    )
    assert sorted(models_in(page)) == sorted(card.id for card in expected.cards)
    assert [f"{number} more whose {fact} is not known" in page for fact, number in expected.unknown.items()]
    assert "changeover models --vendor Alibaba --licence allow --max-size 15 --fits here" in page


async def test_a_class_of_sizes_holds_its_upper_bound_and_not_its_lower_one(
    viewer: httpx2.AsyncClient, shelf: Shelf
) -> None:
    page = (await viewer.get("/library", params={"size": "4-15"})).text
    sizes = {card.id: card.parameters_b for card in shelf.catalogue.cards()}
    assert set(models_in(page)) == {id for id, size in sizes.items() if size is not None and 4 < size <= 15}


async def test_models_are_found_by_what_is_done_with_them_here(viewer: httpx2.AsyncClient, shelf: Shelf) -> None:
    page = (await viewer.get("/library", params={"state": "answers"})).text
    assert models_in(page)
    assert set(models_in(page)) == {card.id for card in shelf.catalogue.cards() if shelf.presence(card).tasks}


async def test_an_id_leads_to_its_card_and_a_mistyped_one_to_the_nearest(viewer: httpx2.AsyncClient) -> None:
    exact = await viewer.get("/library", params={"q": "gemma-3-12b-it"})
    assert (exact.status_code, exact.headers["location"]) == (303, "/library/gemma-3-12b-it")
    near = await viewer.get("/library", params={"q": "gema-3-12b-it"})
    assert near.status_code == 200
    assert "Did you mean" in near.text
    assert "gemma-3-12b-it" in near.text
    wrong = await viewer.get("/library", params={"family": "nobodys"})
    assert wrong.status_code == 200
    assert "no card has that" in wrong.text
    assert not models_in(wrong.text)
    assert (await viewer.get("/library/nobodys-model")).status_code == 404


@pytest.mark.parametrize("id", ["deepseek-r1", "gemma-3-12b-it", "minimax-m1", "qwen3-max", "tongyi-bailing"])
async def test_a_card_shows_every_fact_with_its_source_and_what_is_unknown(
    viewer: httpx2.AsyncClient, busy_console: BusyConsole, shelf: Shelf, id: str
) -> None:
    card = shelf.catalogue.card(id)
    page = (await viewer.get(f"/library/{id}")).text
    text, whole = text_of(page), whole_card(shelf, card)
    for section in sections_of(whole):
        if section.about in ("licence", "kin", "claims", "contradicted", "here"):
            continue  # in panels of their own
        for row in section.rows:
            assert " ".join(row.text.split()) in text, (section.about, row)
    grades = {str(source.checked) for source in card.sources}
    assert any(day in text for day in grades)
    assert ("not known" in text) == any(row.said is None for section in sections_of(whole) for row in section.rows)
    for reason in standing_of(busy_console.installation, card).general.reasons:
        assert said(reason.says) in text
        assert said(reason.quote or "") in text
    for claim in card.claims:
        assert said(claim.words) in text
        assert said(claim.found or "") in text
    for other in [*whole.ancestors, *whole.descendants]:
        assert (f'href="/library/{other.name}"' in page) == other.known
    for successor in whole.successors:
        assert f'href="/library/{successor.card.id}"' in page


async def test_a_card_says_what_sources_state_otherwise_and_stays_as_it_is(
    viewer: httpx2.AsyncClient, shelf: Shelf
) -> None:
    said_otherwise = [card for card in shelf.catalogue.cards() if whole_card(shelf, card).contradicted]
    assert said_otherwise, "the busy installation has observations"
    whole = whole_card(shelf, said_otherwise[0])
    page = text_of((await viewer.get(f"/library/{whole.card.id}")).text)
    assert "What observations say" in page
    assert all(each.fact in page and other.by in page for each in whole.contradicted for other in each.conflicts)


async def test_fit_is_asked_for_other_hardware_and_a_wrong_name_is_said_beside_the_form(
    viewer: httpx2.AsyncClient, shelf: Shelf
) -> None:
    card, hardware = shelf.catalogue.card("gpt-oss-120b"), shelf.catalogue.accelerator("h100-80")
    judged = fit(card, hardware, 1, context=8192)
    page = text_of((await viewer.get("/library/gpt-oss-120b?on=h100-80&context=8192")).text)
    verdict = {"fits": "fits", "tight": "fits tightly", "no": "does not fit", "unknown": "not known"}[judged.verdict]
    assert f"{verdict} on {Hardware(hardware, 1)}" in page
    wrong = await viewer.get("/library/gpt-oss-120b?on=abacus")
    assert wrong.status_code == 200
    assert "No accelerator named" in wrong.text


async def test_scores_are_those_of_the_command_with_each_input(
    viewer: httpx2.AsyncClient, busy_console: BusyConsole
) -> None:
    installation = busy_console.installation
    card = installation.catalogue.card("gemma-3-12b-it")
    scored = Scores(installation, ask_engines(installation.catalogue.cards())).of(card)
    alone = await viewer.get("/library/gemma-3-12b-it/scores")
    part = await viewer.get("/library/gemma-3-12b-it/scores", headers={"hx-request": "true"})
    assert "<html" in alone.text
    assert "<html" not in part.text
    for score in (scored.support, scored.familiarity):
        assert score.value is not None
        assert f">{score.value:.0f}</strong>" in part.text
        for each in score.parts:
            assert said(each.name) in text_of(part.text)
            assert said(each.says) in text_of(part.text)
    results = await viewer.get("/library/part", params={"vendor": "Google"})
    assert f"<strong>{scored.support.value:.0f}</strong>" in results.text


async def test_what_a_model_may_replace_is_what_the_recommendation_says(
    viewer: httpx2.AsyncClient, busy_console: BusyConsole
) -> None:
    card = busy_console.installation.catalogue.card("gemma-4-12b-it")
    found = Candidates(busy_console.installation).of(card)
    whole = {each.name: each for each in Candidates(busy_console.installation).find()}["gemma-4-12b-it"]
    assert found == whole
    page = text_of((await viewer.get("/library/gemma-4-12b-it/replaces")).text)
    assert all(task in page for task in (*whole.tasks, *whole.cannot))


async def test_the_timeline_tells_every_event_and_draws_those_with_a_date(
    viewer: httpx2.AsyncClient, shelf: Shelf
) -> None:
    page = (await viewer.get("/library/timeline")).text
    whole = timeline(shelf)
    rows = re.findall(r'<table class="happened">.*?</table>', page, re.DOTALL)
    assert sum(table.count("<tr>") for table in rows) == len(told(whole.happened))
    released = [each for each in whole.happened if each.kind == "released"]
    assert page.count('class="mark released"') == len(released)
    assert all(each.says in unescape(page) for each in whole.happened)
    missing = await viewer.get("/library/timeline", params={"vendor": "Nobody"})
    assert missing.status_code == 404
    assert "No vendor named" in missing.text


async def test_the_coverage_counts_as_the_command_does_and_shows_each_gap(
    viewer: httpx2.AsyncClient, shelf: Shelf
) -> None:
    for asked, counted in (
        ({}, counted_on(shelf, None, allowed=False)),
        ({"policy": "1", "here": "1"}, counted_on(shelf, fits_on(shelf, "here"), allowed=True)),
    ):
        page = (await viewer.get("/library/coverage", params=asked)).text
        assert page.count("place gap") == len(counted.gaps())
        assert f"{len(counted.standing)} model" in page
        assert all(f"<strong>{counted.count(scenario=name) or ''}</strong>" in page for name in SCENARIOS)


async def test_an_accelerator_has_a_page_too(viewer: httpx2.AsyncClient, shelf: Shelf) -> None:
    page = text_of((await viewer.get("/library/h100-80")).text)
    assert shelf.catalogue.accelerator("h100-80").display_name in page
    assert "bandwidth" in page


async def test_what_a_card_says_is_no_markup_and_no_link_to_a_script(busy_console: BusyConsole) -> None:
    cards = busy_console.directory / "library"
    cards.mkdir(exist_ok=True)
    written = cards / "hostile.toml"
    written.write_text(HOSTILE)
    hostile = over(busy_console.directory, **busy_console.keys)
    try:
        async with hostile.signed_in("viewer") as client:
            for path in ("/library?q=hostile&family=x", "/library?family=%3Cb%3Efamily", "/library/hostile"):
                page = (await client.get(path)).text
                for tag in ("<script>alert", "<img src=x", "<svg onload", "<b>family", "<i>", 'href="javascript:'):
                    assert tag not in page, (path, tag)
            assert "alert(4)" in page
            assert str(date(2026, 1, 1)) in page
    finally:
        written.unlink()
        await closed(hostile)


class Counting(ThreadPoolExecutor):
    """Threads that count what they are given to do."""

    given = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.given += 1
        return super().submit(fn, *args, **kwargs)


async def test_who_waits_for_scores_that_are_being_worked_out_takes_no_thread(
    busy_console: BusyConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(cards: Sequence[Card]) -> tuple[Registry, ...]:
        begun.set()
        go_on.wait()
        return ()

    monkeypatch.setattr("changeover.console.areas.library.held.ask_engines", slow)
    threads, keeping = Counting(), Held()
    asyncio.get_running_loop().set_default_executor(threads)
    readers = [asyncio.create_task(keeping.scored(busy_console.installation)) for _ in range(4)]
    while not begun.is_set():
        await asyncio.sleep(0.001)
    assert threads.given == 1
    go_on.set()
    boards = await asyncio.gather(*readers)
    assert threads.given == 1
    assert all(board is boards[0] for board in boards)
