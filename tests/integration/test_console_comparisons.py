"""Pages of comparisons: what each says, who may see it, and what can be begun there."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from tests.support.console import BusyConsole

from changeover.app.comparisons import SILENT_AFTER, report_of, why_no_switch
from changeover.app.local import announced
from changeover.core.ids import new_id
from changeover.evals.queries import Verdict, find_comparison, newest_comparisons
from changeover.evals.report.html import to_html
from changeover.rollouts.queries import latest_rollout
from changeover.store.schema import comparison_samples, comparisons

INSIDE = re.compile(r"<main>\n(.*)</main>", re.DOTALL)


def some(busy: BusyConsole, verdict: str | None = None) -> list[Verdict]:
    with busy.installation.store.read() as connection:
        return newest_comparisons(connection, verdict=verdict, limit=1000)


def one_under_way(busy: BusyConsole, samples: int, *, ago: timedelta) -> str:
    """The beginning of a comparison that has ended, as one that began a while ago."""
    ended = next(each for each in some(busy) if each.verdict is not None)
    id = new_id("cmp")
    with busy.installation.store.write() as connection:
        whole = connection.execute(select(comparisons).where(comparisons.c.id == ended.id)).mappings().one()
        now = busy.installation.clock.now()
        changed = {"id": id, "verdict": None, "summary": None, "ended_at": None, "started_at": now - ago}
        connection.execute(insert(comparisons).values({**whole, **changed}))
        rows = connection.execute(
            select(comparison_samples).where(
                comparison_samples.c.comparison == ended.id, comparison_samples.c.position <= samples
            )
        )
        connection.execute(insert(comparison_samples), [{**row, "comparison": id} for row in rows.mappings()])
    return id


async def test_a_comparison_says_what_its_report_says_word_for_word(busy_console: BusyConsole) -> None:
    found = some(busy_console, "pass")[0]
    inside = INSIDE.search(to_html(report_of(busy_console.installation, found.id)))
    assert inside is not None
    async with busy_console.signed_in("viewer") as client:
        page = await client.get(f"/comparisons/{found.id}")
        style = await client.get("/static/report.css")
    assert page.status_code == 200
    assert inside[1] in page.text
    assert "style=" not in page.text.replace('rel="stylesheet"', "")
    assert style.headers["content-type"].startswith("text/css")
    assert style.text.startswith(".report{")
    assert ":root" not in style.text


async def test_the_report_and_its_record_can_be_had_as_files(busy_console: BusyConsole) -> None:
    found = some(busy_console, "fail")[0]
    async with busy_console.signed_in("viewer") as client:
        page = await client.get(f"/comparisons/{found.id}/report")
        record = await client.get(f"/comparisons/{found.id}/json")
    assert page.headers["content-disposition"] == f'attachment; filename="{found.id}.html"'
    assert page.text.startswith("<!doctype html>")
    assert json.loads(record.text)["verdict"] == "fail"


async def test_every_sample_that_was_won_or_lost_can_be_read(busy_console: BusyConsole) -> None:
    found = some(busy_console, "pass")[0]
    report = report_of(busy_console.installation, found.id)
    even = [sample.id for sample in report.samples if sample.usable and sample.difference == 0]
    seen: list[str] = []
    async with busy_console.signed_in("viewer") as client:
        address: str | None = f"/comparisons/{found.id}/samples?kind=even"
        while address is not None:
            page = await client.get(address)
            seen += re.findall(r"<h4>.*?<code>(.*?)</code>", page.text, re.DOTALL)
            older = re.search(r'rel="next" href="(.*?)"', page.text)
            address = older and older[1].replace("&amp;", "&")
    assert sorted(seen) == sorted(even)


async def test_the_list_goes_on_where_it_ended_and_can_be_narrowed(busy_console: BusyConsole) -> None:
    ids = [each.id for each in some(busy_console)]
    seen: list[str] = []
    async with busy_console.signed_in("viewer") as client:
        address: str | None = "/comparisons"
        while address is not None:
            page = await client.get(address)
            seen += re.findall(r'<th scope="row"><a href="/comparisons/(.*?)"', page.text)
            older = re.search(r'rel="next" href="(.*?)"', page.text)
            address = older and older[1].replace("&amp;", "&")
        failed = await client.get("/comparisons?verdict=fail")
    assert sorted(set(seen)) == sorted(ids)
    assert all(
        find(busy_console, id).verdict == "fail" for id in re.findall(r"/comparisons/(cmp_[^\"/]*)\"", failed.text)
    )


def find(busy: BusyConsole, id: str) -> Any:
    with busy.installation.store.read() as connection:
        return find_comparison(connection, id)


async def test_one_under_way_grows_and_one_that_fell_silent_was_interrupted(busy_console: BusyConsole) -> None:
    growing = one_under_way(busy_console, 20, ago=timedelta(minutes=1))
    async with busy_console.signed_in("viewer") as client:
        page = await client.get(f"/comparisons/{growing}")
        assert "under way" in page.text
        assert "was interrupted" not in page.text
        assert 'data-live="/comparisons/' in page.text
        assert growing in (await client.get("/comparisons")).text.partition('class="filter"')[0]
        with busy_console.installation.store.write() as connection:
            began = busy_console.installation.clock.now() - SILENT_AFTER - timedelta(minutes=1)
            connection.execute(update(comparisons).where(comparisons.c.id == growing).values(started_at=began))
        page = await client.get(f"/comparisons/{growing}")
        assert "it was interrupted" in page.text
        with busy_console.installation.store.write() as connection:
            ended = {"verdict": "pass", "summary": some(busy_console, "pass")[0].summary}
            connection.execute(update(comparisons).where(comparisons.c.id == growing).values(**ended))
        part = await client.get(f"/comparisons/{growing}/part")
        assert part.headers["hx-refresh"] == "true"


async def test_a_switch_begins_on_evidence_and_on_nothing_else(busy_console: BusyConsole) -> None:
    with busy_console.installation.store.read() as connection:
        passed = newest_comparisons(connection, verdict="pass", limit=100)
        against = {each.id: why_no_switch(connection, each) for each in passed}
    usable = [each for each in passed if against[each.id] is None]
    assert usable, "the busy installation has one that a switch can begin on"
    failed = some(busy_console, "fail")[0]
    state = busy_console.directory / ".changeover"
    begun: list[str] = []
    async with busy_console.signed_in("operator") as client:
        stopped = await busy_console.send(client, f"/comparisons/{usable[0].id}/switch", reason="it passed")
        assert stopped.status_code == 503
        assert "does not run" in stopped.text
        with announced(state, "http://127.0.0.1:9"):
            nothing = await busy_console.send(client, f"/comparisons/{failed.id}/switch", reason="all the same")
            assert nothing.status_code == 409
            for each in usable:
                answer = await busy_console.send(client, f"/comparisons/{each.id}/switch", reason="it passed")
                if answer.status_code == 303:
                    begun.append(each.task)
                    break
                assert answer.status_code in (403, 409), answer.text
    assert begun, "one of them could begin"
    with busy_console.installation.store.read() as connection:
        rollout = latest_rollout(connection, begun[0])
    assert rollout is not None
    assert (rollout.actor, rollout.reason) == ("key:the operator", "it passed")


@pytest.mark.parametrize("role", ["viewer", "approver"])
async def test_whoever_may_not_begin_a_switch_is_told_who_may(busy_console: BusyConsole, role: str) -> None:
    found = some(busy_console, "pass")[0]
    async with busy_console.signed_in(role) as client:
        page = await client.get(f"/comparisons/{found.id}")
        answer = await busy_console.send(client, f"/comparisons/{found.id}/switch", reason="x")
    assert f"/comparisons/{found.id}/switch" not in page.text
    assert answer.status_code == 403


async def test_a_comparison_that_is_not_there_is_not_found(busy_console: BusyConsole) -> None:
    async with busy_console.signed_in("viewer") as client:
        for path in (
            "/comparisons/nix",
            "/comparisons/nix/samples",
            "/comparisons/nix/report",
            "/comparisons/nix/part",
        ):
            assert (await client.get(path)).status_code == 404
