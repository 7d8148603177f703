"""Pages of tasks: what each says, what can be done there, and that none asks for more than a bounded number of rows."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from benchmarks.console.statements import reads_whole
from playwright.async_api import expect
from sqlalchemy import delete, event, insert, select, update
from tests.support import browser
from tests.support.console import BusyConsole

from changeover.app.fetching import Terms, embedded_artifact, fetch_artifact
from changeover.app.local import SERVER_FILE
from changeover.app.standing import standings
from changeover.console.areas.tasks.details import diff_of
from changeover.console.areas.tasks.lines import Line, Traffic, chosen, needs_of, ordered
from changeover.library.pull import Silent
from changeover.rollouts.queries import latest_rollout
from changeover.serving.queries import find_deployment, load_variants
from changeover.store.audit import Wanted, acts
from changeover.store.schema import applied, deployments, exchanges, feedback, routes, variants
from changeover.tasks.applied import append_applied, newest_applied
from changeover.tasks.queries import current_route, route_history
from changeover.tasks.traffic_queries import page_of

TABS = ("", "/history", "/variants", "/results", "/dataset", "/exchanges", "/contract", "/live")
ATTACK = "<script>alert('x')</script><img src=x onerror=alert(1)>"


@pytest.fixture
async def viewer(busy_console: BusyConsole) -> AsyncGenerator[httpx2.AsyncClient]:
    async with busy_console.signed_in("viewer") as client:
        yield client


@pytest.fixture
async def operator(busy_console: BusyConsole) -> AsyncGenerator[httpx2.AsyncClient]:
    async with busy_console.signed_in("operator") as client:
        yield client


def text_of(page: str) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def rows_of(page: str) -> list[str]:
    """Names of tasks in the table, in order."""
    return re.findall(r'<th scope="row"><a href="/tasks/[^"]+">([^<]+)</a>', page)


async def test_every_task_stands_in_the_table_with_who_answers_it(
    busy_console: BusyConsole, viewer: httpx2.AsyncClient
) -> None:
    page = (await viewer.get("/tasks")).text
    found = standings(busy_console.installation)
    assert set(rows_of(page)) == {name for name, each in found.items() if not each.removed}
    said = text_of(page)
    assert all(each.incumbent in said for each in found.values())


async def test_what_needs_a_person_stands_above_the_table_with_where_it_is_done(
    busy_console: BusyConsole, viewer: httpx2.AsyncClient
) -> None:
    page = (await viewer.get("/tasks")).text
    above = page[: page.index('id="all"')]
    found = standings(busy_console.installation)
    needing = {name for name, each in found.items() if needs_of(each)}
    assert needing, "the busy installation has some"
    assert all(f'<a href="/tasks/{name}">' in above for name in needing)
    held = next(each for each in found.values() if "hold" in each.needs())
    assert held.rollout is not None
    assert f'href="/rollouts/{held.rollout.id}#deeds"' in above
    assert 'action="/rollouts' not in above, "a viewer is offered no deed"
    assert "The gateway does not run" in page


async def test_the_table_is_searched_narrowed_and_sorted_by_its_address(viewer: httpx2.AsyncClient) -> None:
    everything = rows_of((await viewer.get("/tasks?sort=task")).text)
    assert everything == sorted(everything)
    assert rows_of((await viewer.get("/tasks?q=summar")).text) == ["summarise"]
    needing = rows_of((await viewer.get("/tasks?state=needs")).text)
    assert 0 < len(needing) < len(everything)
    nothing = await viewer.get("/tasks?q=zzz&state=odd&sort=odd&page=-3")
    assert "No task is like that." in nothing.text


def test_three_hundred_tasks_are_sorted_by_what_hurts_most_and_found_by_any_of_their_words(
    busy_console: BusyConsole,
) -> None:
    found = standings(busy_console.installation)
    lines = [
        Line(
            standing=each,
            description="Reads invoices",
            traffic=Traffic(requests=10, failed=place % 7),
            needs=needs_of(each),
        )
        for place, each in enumerate([*found.values()] * 30)
    ]
    worst = ordered(lines, "needs")
    assert [bool(line.needs) for line in worst] == sorted((bool(line.needs) for line in lines), reverse=True)
    shares = [line.traffic.share_failed for line in ordered(lines, "failed")]
    assert shares == sorted(shares, reverse=True)
    assert len(chosen(lines, "INVOICES reads", "")) == len([line for line in lines if not line.standing.removed])


@pytest.mark.parametrize("tab", TABS)
async def test_each_page_of_each_task_can_be_looked_at(
    busy_console: BusyConsole, viewer: httpx2.AsyncClient, tab: str
) -> None:
    for name in busy_console.installation.tasks:
        answer = await viewer.get(f"/tasks/{name}{tab}")
        assert answer.status_code == 200, (name, answer.text[-500:])
        assert " style=" not in answer.text, "the policy forbids it"


async def test_a_task_that_is_none_is_refused_in_words_and_so_is_one_of_others(
    busy_console: BusyConsole, viewer: httpx2.AsyncClient
) -> None:
    answer = await viewer.get("/tasks/sumarise")
    assert answer.status_code == 404
    assert "summarise" in text_of(answer.text)
    assert (await viewer.get("/tasks/summarise/exchanges/req_nothing")).status_code == 404
    del busy_console


async def test_who_may_only_look_is_offered_no_deed_and_may_do_none(
    busy_console: BusyConsole, viewer: httpx2.AsyncClient
) -> None:
    page = (await viewer.get("/tasks/summarise/history")).text
    assert "rollback" not in page
    assert (await viewer.get("/tasks/summarise/switch")).status_code == 403
    for deed in ("rollback", "switch"):
        answer = await busy_console.send(viewer, f"/tasks/summarise/{deed}", reason="x", to="gemma-3-12b")
        assert answer.status_code == 403


async def test_a_rollback_from_the_timeline_is_one_of_the_command_with_who_and_why(
    busy_console: BusyConsole, operator: httpx2.AsyncClient
) -> None:
    store = busy_console.installation.store
    found = standings(busy_console.installation)
    name = next(name for name, each in found.items() if each.under_way is not None and each.route.candidate)
    page = (await operator.get(f"/tasks/{name}/history")).text
    assert f'action="/tasks/{name}/rollback"' in page
    without = await busy_console.send(operator, f"/tasks/{name}/rollback", reason=" ")
    assert without.status_code == 400
    assert "Say why" in without.text
    assert f'action="/tasks/{name}/rollback"' in without.text, "on the page that it came from"
    answer = await busy_console.send(operator, f"/tasks/{name}/rollback", reason="answers were too short")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/tasks/{name}/history")
    with store.read() as connection:
        route, rollout = current_route(connection, name), latest_rollout(connection, name)
    assert route is not None
    assert rollout is not None
    assert (route.action, route.actor, route.reason) == ("rollback", "key:the operator", "answers were too short")
    assert (route.candidate, rollout.state) == (None, "rolled_back")
    after = text_of((await operator.get(f"/tasks/{name}/history")).text)
    assert "was rolled back" in after
    assert "answers were too short" in after


async def test_who_passed_a_comparison_stands_first_among_those_who_could_take_over(
    busy_console: BusyConsole, operator: httpx2.AsyncClient
) -> None:
    firsts: list[str] = []
    for name, standing in standings(busy_console.installation).items():
        if standing.under_way is None and not standing.removed:
            page = (await operator.get(f"/tasks/{name}/switch")).text
            first = page.partition('name="to"')[2].partition("</label>")[0]
            firsts += [first] if "/comparisons/" in page else []
    assert firsts
    passed = [each for each in firsts if 'badge good">pass<' in each]
    assert passed
    assert all("points · <a href=" in each for each in passed)


async def test_a_switch_is_begun_by_who_may_and_a_refusal_keeps_what_was_typed(
    busy_console: BusyConsole, operator: httpx2.AsyncClient
) -> None:
    name = next(
        name
        for name, each in standings(busy_console.installation).items()
        if each.under_way is None and name in busy_console.installation.tasks and not each.removed
    )
    page = (await operator.get(f"/tasks/{name}/switch")).text
    assert 'name="to"' in page
    refused = await busy_console.send(operator, f"/tasks/{name}/switch", to="gemma-3-4b", reason='the "old" one <ends>')
    assert refused.status_code == 503
    assert "The gateway does not run" in refused.text
    assert "the &#34;old&#34; one &lt;ends&gt;" in refused.text
    with running(busy_console):
        unknown = await busy_console.send(operator, f"/tasks/{name}/switch", to="no-such", reason="x")
        assert unknown.status_code == 404
        assert "no-such" in unknown.text
        with busy_console.installation.store.read() as connection:
            [route] = route_history(connection, name, 1)
            answers = load_variants(connection, [route.incumbent])[route.incumbent].deployment
        with busy_console.installation.store.write() as connection:
            connection.execute(update(deployments).values(desired="running", state="ready"))
        to = next(each for each in ("qwen3-coder-30b", "qwen3-vl-8b", "gpt-oss-20b") if each != answers)
        begun = await busy_console.send(operator, f"/tasks/{name}/switch", to=to, reason="asked for")
    with busy_console.installation.store.read() as connection:
        rollout = latest_rollout(connection, name)
    assert rollout is not None
    assert begun.headers.get("location") == f"/rollouts/{rollout.id}", text_of(begun.text)
    assert (rollout.actor, rollout.reason, rollout.state) == ("key:the operator", "asked for", "evaluation")


async def test_a_card_that_is_not_deployed_takes_over_and_the_form_says_what_that_takes(
    busy_console: BusyConsole, operator: httpx2.AsyncClient
) -> None:
    installation = busy_console.installation
    card = installation.catalogue.card("smollm2-135m-instruct")
    fetch_artifact(card, embedded_artifact(card), installation.project.cache, Terms(), Silent())
    name = next(
        name
        for name, each in standings(installation).items()
        if each.under_way is None and name in installation.tasks and not each.removed and not each.incumbent_stopped
    )
    page = text_of((await operator.get(f"/tasks/{name}/switch?to={card.id}")).text)
    assert f"{card.id} not deployed; it is deployed first · card engine local · memory" in page
    with running(busy_console):
        begun = await busy_console.send(operator, f"/tasks/{name}/switch", to=card.id, reason="small is enough")
    with installation.store.read() as connection:
        rollout, row = latest_rollout(connection, name), find_deployment(connection, card.id)
        noted = acts(connection, Wanted(action="deploy"))
    assert rollout is not None
    assert begun.headers.get("location") == f"/rollouts/{rollout.id}", text_of(begun.text)
    assert (row.backend, row.desired, row.created_by) == ("local", "running", "key:the operator")
    assert noted[0].subject == f"deployment {card.id}"


async def test_what_waits_for_a_person_is_done_on_the_page_of_tasks_by_whoever_may(busy_console: BusyConsole) -> None:
    found = standings(busy_console.installation)
    held = next(each.under_way for each in found.values() if each.under_way is not None and each.hold is not None)
    waiting = next(each.under_way for each in found.values() if each.under_way is not None and each.approvals_missing)
    async with busy_console.signed_in("approver") as approver:
        page = (await approver.get("/tasks")).text
        assert f'action="/rollouts/{waiting.id}/approve"' in page
        assert f'action="/rollouts/{held.id}/resume"' not in page
        done = await busy_console.send(approver, f"/rollouts/{waiting.id}/approve", reason="read ten", back="tasks")
        assert (done.status_code, done.headers["location"]) == (303, "/tasks")
        assert "You agreed to rollout" in (await approver.get("/tasks")).text
    async with busy_console.signed_in("operator") as operator:
        page = (await operator.get("/tasks")).text
        assert f'action="/rollouts/{held.id}/resume"' in page
        done = await busy_console.send(operator, f"/rollouts/{held.id}/resume", reason="go on", back="tasks")
        assert (done.status_code, done.headers["location"]) == (303, "/tasks")
        again = await busy_console.send(operator, f"/rollouts/{held.id}/resume", reason="go on", back="tasks")
        assert (again.status_code, "goes on by itself" in again.text) == (409, True)


async def test_a_rollback_from_a_page_that_is_old_takes_back_nothing(
    busy_console: BusyConsole, operator: httpx2.AsyncClient
) -> None:
    name, standing = next(
        (name, each)
        for name, each in standings(busy_console.installation).items()
        if each.under_way is None and each.former is not None and not each.removed
    )
    page = (await operator.get(f"/tasks/{name}")).text
    assert f'name="revision" value="{standing.route.revision}"' in page
    old = str(standing.route.revision - 1)
    refused = await busy_console.send(operator, f"/tasks/{name}/rollback", reason="late", revision=old)
    assert (refused.status_code, "is at revision" in refused.text) == (409, True)
    with busy_console.installation.store.read() as connection:
        assert current_route(connection, name) == standing.route


@contextmanager
def running(busy: BusyConsole) -> Generator[None]:
    """As if a gateway ran: what is asked for here is asked of the store alone."""
    file = busy.directory / ".changeover" / SERVER_FILE
    file.write_text('{"pid": 1, "address": "http://127.0.0.1:9"}')
    yield
    file.unlink()


async def test_exchanges_are_paged_without_one_being_shown_twice_or_left_out(
    busy_console: BusyConsole, viewer: httpx2.AsyncClient
) -> None:
    with busy_console.installation.store.write() as connection:
        row = connection.execute(select(exchanges).where(exchanges.c.task == "summarise").limit(1)).mappings().one()
        at = row["started_at"] + timedelta(days=40)
        rows = [{**row, "id": f"req_same{number:03d}", "started_at": at, "status": 200} for number in range(120)]
        connection.execute(insert(exchanges), rows)  # all in one moment
    seen: list[str] = []
    address: str | None = "/tasks/summarise/exchanges"
    for _ in range(3):
        assert address is not None
        page = (await viewer.get(address)).text
        seen += re.findall(r'/exchanges/(req_same\d+)"', page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        address = older[1].replace("&amp;", "&") if older else None
    assert seen == [f"req_same{number:03d}" for number in reversed(range(120))]
    with busy_console.installation.store.read() as connection:
        failed, older_place = page_of(connection, "summarise", None, "failed", 5)
    assert all(each.failed for each in failed)
    assert len(failed) <= 5
    del older_place


async def test_what_models_and_callers_wrote_is_text_wherever_it_is_shown(
    busy_console: BusyConsole, viewer: httpx2.AsyncClient
) -> None:
    with busy_console.installation.store.write() as connection:
        row = connection.execute(select(exchanges).where(exchanges.c.task == "code").limit(1)).mappings().one()
        said = {"request": f'{{"messages": [{{"role": "{ATTACK}", "content": "{ATTACK}"}}]}}', "response": ATTACK}
        more = {"id": "req_hostile", "started_at": row["started_at"] + timedelta(days=50), "error": ATTACK[:40]}
        connection.execute(insert(exchanges).values({**row, **said, **more, "content": "full"}))
        given = {"exchange": "req_hostile", "task": "code", "variant": row["variant"] or "x", "good": False}
        connection.execute(
            insert(feedback).values(**given, comment=ATTACK, key="k", at=busy_console.installation.clock.now())
        )
    for path in ("/tasks/code/exchanges", "/tasks/code/exchanges/req_hostile", "/tasks/code/results"):
        page = (await viewer.get(path)).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page
    assert "&lt;script&gt;alert" in (await viewer.get("/tasks/code/exchanges/req_hostile")).text


async def test_variants_are_compared_line_by_line_and_a_place_that_is_empty_says_so(viewer: httpx2.AsyncClient) -> None:
    page = (await viewer.get("/tasks/summarise/variants?a=incumbent&b=declared")).text
    assert "What differs" in page
    refused = (await viewer.get("/tasks/summarise/variants?a=incumbent&b=999999")).text
    assert "no revision 999999" in text_of(refused)
    kinds = [(line.kind, line.text) for line in diff_of("Be brief.\nSay yes.", "Be brief.\nSay no.\nAlways.")]
    assert kinds == [
        ("place", ""),
        ("same", "Be brief."),
        ("gone", "Say yes."),
        ("new", "Say no."),
        ("new", "Always."),
    ]


@contextmanager
def listening(busy: BusyConsole) -> Generator[list[tuple[str, Any]]]:
    """What goes to the database meanwhile."""
    asked: list[tuple[str, Any]] = []
    engine = busy.installation.store.engine

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_no_page_reads_more_rows_than_it_may_however_much_was_recorded(
    busy_console: BusyConsole, viewer: httpx2.AsyncClient
) -> None:
    with listening(busy_console) as asked:
        for path in ("/tasks", *(f"/tasks/summarise{tab}" for tab in TABS)):
            await viewer.get(path)
    of_exchanges = [each for each in asked if "exchanges" in each[0]]
    assert of_exchanges
    assert all("LIMIT" in statement or "exchanges.id IN" in statement for statement, _ in of_exchanges)
    with busy_console.installation.store.read() as connection:
        assert not any(reads_whole(connection, *each) for each in of_exchanges)


@contextmanager
def more_tasks(busy: BusyConsole, count: int) -> Generator[None]:
    """Tasks like `summarise`, applied and with a route, for a while."""
    installation = busy.installation
    names = [f"summarise-{number}" for number in range(count)]
    with installation.store.write() as connection:
        newest = newest_applied(connection)
        assert newest is not None
        declared = newest.document["tasks"]
        document = {**newest.document, "tasks": {**declared, **dict.fromkeys(names, declared["summarise"])}}
        revision = append_applied(connection, document, actor="test", changes=[], now=installation.clock.now())
        route = connection.execute(select(routes).where(routes.c.task == "summarise").limit(1)).mappings().one()
        values = {name: value for name, value in route.items() if name != "revision"}
        connection.execute(insert(routes), [{**values, "task": name} for name in names])
    yield
    with installation.store.write() as connection:
        connection.execute(delete(routes).where(routes.c.task.in_(names)))
        connection.execute(delete(applied).where(applied.c.revision == revision))


def asked(statements: Sequence[tuple[str, Any]]) -> list[str]:
    """What a page asked, without the keys, which whoever comes first in a second has read anew."""
    told = [statement.split("IN (")[0] for statement, _ in statements]
    return [each for each in told if each != "BEGIN" and not re.search(r"\bFROM (?:keys|teams)\b", each)]


async def test_the_page_of_all_tasks_asks_as_many_statements_of_many_as_of_few(
    busy_console: BusyConsole, viewer: httpx2.AsyncClient
) -> None:
    with listening(busy_console) as few:
        before = (await viewer.get("/tasks")).text
    with more_tasks(busy_console, 20), listening(busy_console) as many:
        page = (await viewer.get("/tasks")).text
    assert len(rows_of(page)) == len(rows_of(before)) + 20
    assert asked(many) == asked(few)


async def test_the_pages_are_there_in_japanese_too(busy_console: BusyConsole) -> None:
    async with busy_console.signed_in("viewer", language="ja") as client:
        page = (await client.get("/tasks")).text
    assert 'lang="ja"' in page
    assert "担当者の対応が必要" in page


def test_a_variant_of_every_standing_is_known(busy_console: BusyConsole) -> None:
    with busy_console.installation.store.read() as connection:
        known = set(connection.execute(select(variants.c.id)).scalars())
    for each in standings(busy_console.installation).values():
        assert set(each.variants) <= known
        assert each.rollout is None or each.rollout_candidate is not None


@pytest.mark.usefixtures("looking_often")
@pytest.mark.skipif(browser.missing() is not None, reason=browser.missing() or "")
async def test_open_pages_follow_what_happens_and_a_rollback_asks_first(
    busy_console: BusyConsole,
) -> None:
    name, store = "market-brief", busy_console.installation.store
    wrong: list[str] = []
    async with busy_console.served() as address, browser.browsing() as page:
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        await page.goto(address)
        await page.get_by_label("Key").fill(busy_console.keys["operator"])
        async with page.expect_response("**/tasks-events"):  # what happens from then on is told
            await page.get_by_role("button", name="Sign in").click()
        above = page.locator("#above")
        await expect(above).not_to_contain_text("engine failed")
        with store.write() as connection:
            connection.execute(update(deployments).values(state="failed"))
        await expect(above).to_contain_text("engine failed")
        await page.goto(f"{address}/tasks/{name}")
        await expect(page.get_by_text("No request in the last 15 minutes.")).to_be_visible()
        for number in range(2):  # the part that was exchanged is followed too
            _answer_one(busy_console, name, number)
            said = "1 request in" if number == 0 else "2 requests in"
            await expect(page.get_by_text(said)).to_be_visible()
        await page.locator("summary", has_text="Roll back").click()
        reason = page.get_by_label("Reason")
        await expect(reason).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(reason).to_be_hidden()
        await page.locator("summary", has_text="Roll back").click()
        await reason.fill("the desk asked for it")
        await page.get_by_role("button", name="Roll back").click()
        await expect(page.get_by_role("status")).to_contain_text("was rolled back")
    with store.read() as connection:
        route = current_route(connection, name)
    assert route is not None
    assert (route.action, route.reason) == ("rollback", "the desk asked for it")
    assert wrong == [], "no script, style or picture was refused, and none failed"


def _answer_one(busy: BusyConsole, task: str, number: int) -> None:
    with busy.installation.store.write() as connection:
        last = select(exchanges).where(exchanges.c.task == task, exchanges.c.deployment.is_not(None)).limit(1)
        row = connection.execute(last).mappings().one()
        now = busy.installation.clock.now()
        said = {"id": f"req_now{number}", "started_at": now, "internal": False, "shadow_of": None, "side": "incumbent"}
        connection.execute(insert(exchanges).values({**row, **said}))
