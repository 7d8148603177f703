"""The console's pages: over their own interface where that is enough, and in a browser where it is not."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from markupsafe import escape
from playwright.async_api import expect
from starlette.applications import Starlette
from tests.support import browser
from tests.support.processes import Up

from changeover.app.asgi import serving
from changeover.app.asking import names_at
from changeover.app.listening import address_of, listen
from changeover.app.local import operator_key
from changeover.client import Job, wire
from changeover.console.app import console
from changeover.console.areas.tools import followed
from changeover.console.desk import always
from changeover.console.guards import MOST_OF_STRANGERS, POLICY
from changeover.console.people import Person
from changeover.console.plays import Memory, Plays
from changeover.console.sessions import LIFE_S, Callers, Session
from changeover.console.texts import MOST_LAID_OUT, sentence, shown
from changeover.core.clock import SystemClock
from changeover.core.errors import ChangeoverError

HOST = "console.test"
MIB = 1 << 20
ATTACKS = (
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "[click](javascript:alert(1))",
    "![track](https://elsewhere.example/a.png)",
    "<https://elsewhere.example>",
    '"><svg onload=alert(1)>',
    "</textarea><script>alert(1)</script>",
)


class LaterClock(SystemClock):
    """A clock that can be put forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def made(up: Up, clock: SystemClock | None = None) -> Starlette:
    return console(always(up.address), hosts=(HOST,), most_body_bytes=MIB, clock=clock)


@asynccontextmanager
async def visiting(app: Starlette) -> AsyncGenerator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
        yield client
    await app.state.sessions.close()


@asynccontextmanager
async def signed_in(up: Up, app: Starlette | None = None) -> AsyncGenerator[httpx2.AsyncClient]:
    async with visiting(app or made(up)) as client:
        answer = await client.post("/sign-in", data={"key": up.key})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        yield client


async def csrf_of(client: httpx2.AsyncClient, path: str = "/tools") -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', (await client.get(path)).text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", ["/", "/tools", "/tools/headline", "/jobs", "/jobs/job_1", "/jobs/job_1/events"])
async def test_nobody_sees_a_page_before_they_signed_in(tools_up: Up, path: str) -> None:
    async with visiting(made(tools_up)) as client:
        answer = await client.get(path, follow_redirects=True)
    assert "Sign in" in answer.text
    assert "headline" not in answer.text


async def test_a_key_that_is_none_signs_nobody_in_and_the_gateway_says_why(tools_up: Up) -> None:
    async with visiting(made(tools_up)) as client:
        answer = await client.post("/sign-in", data={"key": "co_wrong"})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert "key" in answer.text
        for no_key in ("  ", "ключ", "co_a b", "co_a\nb"):
            answer = await client.post("/sign-in", data={"key": no_key})
            assert answer.status_code == 400
            assert "co_a" not in answer.text


async def test_the_cookie_is_no_key_and_no_script_may_read_it(tools_up: Up) -> None:
    async with visiting(made(tools_up)) as client:
        cookie = (await client.post("/sign-in", data={"key": tools_up.key})).headers["set-cookie"]
    assert tools_up.key not in cookie
    assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))


async def test_every_answer_forbids_what_a_hostile_text_would_need(tools_up: Up) -> None:
    async with signed_in(tools_up) as client:
        for path in ("/tools", "/static/base.css", "/nowhere", "/tools/no-such-tool"):
            headers = (await client.get(path)).headers
            assert headers["content-security-policy"] == POLICY
            assert headers["x-content-type-options"] == "nosniff"
        assert (await client.get("/tools")).headers["cache-control"] == "no-store"


async def test_a_form_of_another_site_does_nothing(tools_up: Up) -> None:
    async with signed_in(tools_up) as client:
        token = await csrf_of(client)
        for headers in ({"origin": "https://elsewhere.example"}, {"sec-fetch-site": "cross-site"}):
            answer = await client.post("/tools/headline", data={"csrf": token, "text": "x"}, headers=headers)
            assert answer.status_code == 403
        assert (await client.post("/tools/headline", data={"csrf": "guess", "text": "x"})).status_code == 403
        assert (await client.post("/sign-out", data={})).status_code == 403


async def test_tools_are_found_by_what_they_say_of_themselves(tools_up: Up) -> None:
    async with signed_in(tools_up) as client:
        every = (await client.get("/tools")).text
        found = (await client.get("/tools", params={"q": " DOCUMENT summar"})).text
        none = (await client.get("/tools", params={"q": "document <zebra>"})).text
    assert {'href="/tools/document-summary"' in page for page in (every, found)} == {True}
    assert [('href="/tools/headline"' in page) for page in (every, found, none)] == [True, False, False]
    assert "No tool says these words of itself." in none
    assert 'value="document &lt;zebra&gt;"' in none


@pytest.mark.parametrize("path", ["/tools/headline", "/tools/headline/example", "/tools/talk/chat", "/jobs/job_1/end"])
async def test_no_form_of_a_tool_or_a_job_does_anything_without_its_token(tools_up: Up, path: str) -> None:
    async with signed_in(tools_up) as client:
        before = (await client.get("/jobs")).text
        for token in ({}, {"csrf": ""}, {"csrf": "guess"}):
            assert (await client.post(path, data={**token, "text": "x", "delete": ""})).status_code in (403, 404)
        assert (await client.get("/jobs")).text.count("<tr") == before.count("<tr")


async def test_another_host_name_gets_nothing(tools_up: Up) -> None:
    async with visiting(made(tools_up)) as client:
        answer = await client.get("/sign-in", headers={"host": "rebound.example"})
    assert answer.status_code == 400


async def test_a_body_that_is_too_large_is_refused_in_words(tools_up: Up) -> None:
    async with signed_in(tools_up) as client:
        token = await csrf_of(client)
        files = {"document": ("a.txt", b"x" * (MIB + 1))}
        answer = await client.post("/tools/document-summary", data={"csrf": token}, files=files)
    assert answer.status_code == 413
    assert "1 MiB" in answer.text


async def test_a_stranger_sends_no_more_than_a_key_takes(tools_up: Up) -> None:
    async with visiting(made(tools_up)) as client:
        answer = await client.post("/sign-in", data={"key": "x" * (MOST_OF_STRANGERS + 1)})
    assert answer.status_code == 413
    assert "16 KiB" in answer.text


async def test_several_people_sign_in_at_once_where_old_sessions_make_room(tools_up: Up) -> None:
    clock = LaterClock()
    app = made(tools_up, clock)
    async with visiting(app) as client:
        for _ in range(4):
            await client.post("/sign-in", data={"key": tools_up.key})
        clock.ahead = LIFE_S + 1
        answers = await asyncio.gather(*(client.post("/sign-in", data={"key": tools_up.key}) for _ in range(4)))
        assert {answer.status_code for answer in answers} == {303}


async def test_a_session_ends_with_sign_out_and_with_time(tools_up: Up) -> None:
    clock = LaterClock()
    async with signed_in(tools_up, made(tools_up, clock)) as client:
        assert (await client.post("/sign-out", data={"csrf": await csrf_of(client)})).status_code == 303
        assert (await client.get("/tools")).headers["location"] == "/sign-in"
        await client.post("/sign-in", data={"key": tools_up.key})
        assert (await client.get("/tools")).status_code == 200
        clock.ahead = LIFE_S + 1
        assert (await client.get("/tools")).headers["location"] == "/sign-in"


async def test_a_form_says_what_was_wrong_and_runs_nothing(tools_up: Up) -> None:
    async with signed_in(tools_up) as client:
        token = await csrf_of(client)
        answer = await client.post("/tools/waits", data={"csrf": token, "seconds": "many", "words": "b\nc"})
    assert answer.status_code == 400
    assert "<code>seconds</code>" in answer.text
    assert 'value="many"' in answer.text, "nothing has to be typed twice"
    assert "b\nc</textarea>" in answer.text


async def test_what_was_said_in_a_conversation_is_not_lost_when_it_is_refused(tools_up: Up) -> None:
    async with signed_in(tools_up) as client:
        token = await csrf_of(client)
        said = "</textarea>" + "a" * 200_000
        answer = await client.post("/tools/talk/chat", data={"csrf": token, "message": said})
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert f"{escape(said)}</textarea>" in answer.text


def test_names_in_a_sentence_are_set_apart_and_nothing_else_is_laid_out() -> None:
    assert str(sentence("No `a<b`, *not* `c")) == "No <code>a&lt;b</code>, *not* `c"


async def test_a_tool_runs_as_a_job_and_its_result_can_be_read_downloaded_and_deleted(tools_up: Up) -> None:
    async with signed_in(tools_up) as client:
        token = await csrf_of(client)
        files = {"document": ("memo.txt", b"The lift is out of service from 11 to 14 March.")}
        begun = await client.post("/tools/document-summary", data={"csrf": token}, files=files)
        job = begun.headers["location"]
        followed = await client.get(f"{job}/events")
        assert followed.text.rstrip().endswith("event: ended\ndata: {}")
        page = (await client.get(job)).text
        assert "done" in page
        assert "Sources" in page
        text = await client.get(f"{job}/text")
        assert "attachment" in text.headers["content-disposition"]
        assert "lift" in text.text
        late = await client.post(f"{job}/end", data={"csrf": token})
        assert late.headers["location"] == job, "who would cancel it a moment too late loses no result"
        assert "Sources" in (await client.get(job)).text
        await client.post(f"{job}/end", data={"csrf": token, "delete": "1"})
        assert (await client.get(job)).status_code == 404


async def test_a_conversation_is_kept_for_the_session_and_begins_again_when_asked(tools_up: Up) -> None:
    async with signed_in(tools_up) as client:
        token = await csrf_of(client)
        for message in ATTACKS[:2]:
            answer = await client.post("/tools/talk/chat", data={"csrf": token, "message": message})
            assert answer.status_code == 303
        page = (await client.get("/tools/talk")).text
        assert page.count('class="user"') == page.count('class="assistant"') - 1 == 2, "and the greeting"
        assert ATTACKS[0] not in page
        await client.post("/tools/talk/chat", data={"csrf": token, "message": "and", "ending": " so on"})
        page = (await client.get("/tools/talk")).text
        assert "and so on" in page
        assert " so on</textarea>" in page, "what was given beside a message stands there for the next"
        await client.post("/tools/talk/chat", data={"csrf": token, "again": "1"})
        assert 'class="user"' not in (await client.get("/tools/talk")).text


async def test_a_conversation_that_is_longer_than_the_tool_takes_goes_on_without_its_beginning(tools_up: Up) -> None:
    async with signed_in(tools_up) as client:
        token = await csrf_of(client)
        for number in range(4):
            answer = await client.post("/tools/talk/chat", data={"csrf": token, "message": f"word {number}"})
            assert answer.status_code == 303, answer.text
        page = (await client.get("/tools/talk")).text
    assert "word 3" in page
    assert "word 0" not in page


def test_a_line_that_looks_like_the_end_of_a_link_is_read_like_any_other() -> None:
    html = str(shown("As said [1].\n\n[1]: report.pdf", "text/markdown"))
    assert html == "<p>As said [1].</p>\n<p>[1]: report.pdf</p>\n"


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("media_type", ["text/markdown", "text/plain"])
def test_nothing_that_a_model_writes_becomes_a_tag_or_an_address(attack: str, media_type: str) -> None:
    html = str(shown(f"Before\n\n{attack}\n\n| a |\n|---|\n| {attack} |", media_type))
    tags = set(re.findall(r"<\s*/?\s*([a-zA-Z]+)", html))
    assert tags <= {"p", "pre", "code", "table", "thead", "tbody", "tr", "th", "td", "em", "strong", "br"}
    assert not re.search(r"<[^>]*(href|src|on\w+)\s*=", html)


def test_plain_text_keeps_its_lines_and_so_does_one_that_is_too_long_to_lay_out() -> None:
    assert str(shown("Dear Ms Okafor,\n\n*not* so", "text/plain")) == "<pre>Dear Ms Okafor,\n\n*not* so</pre>"
    long = "a * b\n" * MOST_LAID_OUT
    assert str(shown(long, "text/markdown")) == f"<pre>{long}</pre>"


async def test_a_page_that_follows_a_job_hears_of_the_end_when_the_gateway_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "BETWEEN_TRIES_S", 0.01)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        nowhere = address_of(taken)
        callers = Callers(always(nowhere), "co_gone")
        person = Person(name="ana", actor="key:ana", role="application")
        session = Session(person=person, callers=callers, csrf="", seen=0.0, plays=Plays(Memory()))
        job = Job(id="job_1", tool="waits", state="running")
        heard = [each async for each in followed(session, job)]
        await callers.close()
    assert heard == [b"event: ended\ndata: {}\n\n"]


@pytest.mark.skipif(browser.missing() is not None, reason=browser.missing() or "")
async def test_somebody_signs_in_runs_a_tool_on_a_file_reads_it_and_chats(tools_up: Up, tmp_path: Path) -> None:
    memo = tmp_path / "memo.txt"
    memo.write_text("The lift in house B is out of service from 11 to 14 March.")
    listener = listen("127.0.0.1", 0)
    address = address_of(listener)
    app = console(always(tools_up.address), hosts=("127.0.0.1",), most_body_bytes=MIB)
    listening = asyncio.Event()
    server = serving(app, listening.set, drain_s=1)
    served = asyncio.create_task(server.serve([listener]))
    await listening.wait()
    wrong: list[str] = []
    try:
        async with browser.browsing() as page:
            page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            await page.goto(address)
            await page.get_by_label("Key").fill(tools_up.key)
            await page.get_by_role("button", name="Sign in").click()
            await page.get_by_role("link", name="Document summary").click()
            await page.get_by_label("Document").set_input_files(memo)
            await page.get_by_role("button", name="Run", exact=True).click()
            await expect(page.get_by_role("heading", name="Sources")).to_be_visible()
            await expect(page.locator("article.result")).to_contain_text("lift")
            await page.goto(f"{address}/tools/talk")
            await page.get_by_label("Message").fill("good morning")
            await page.get_by_role("button", name="Send").click()
            await expect(page.locator(".assistant").last).to_contain_text("good morning")
    finally:
        server.stop()
        await served
        listener.close()
        await app.state.sessions.close()
    assert wrong == [], "no script, style or picture was refused, and none failed"


async def test_the_playground_needs_no_project_and_offers_whom_the_gateway_lists(tools_up: Up) -> None:
    async with signed_in(tools_up) as client:
        page = (await client.get("/playground")).text
        assert '<option value="headline.answer"' in page
        assert 'href="/playground" aria-current="page"' in page
        assert "@echo" not in page, "an application's key names no deployment"
        fields = {"csrf": await csrf_of(client), "user": "a bright day", "ask": "headline.answer", "max_tokens": "9"}
        begun = await client.post("/playground", data=fields)
        assert begun.status_code == 303, begun.text
        async with asyncio.timeout(20):
            while "data-play" in (shown := (await client.get(begun.headers["location"])).text):
                await asyncio.sleep(0.05)
    assert "answered by echo" in shown
    assert "Keep as a sample" not in shown


async def test_whoever_may_look_is_offered_the_deployments_that_answer_too(tools_up: Up) -> None:
    names = await names_at(tools_up.address, operator_key(tools_up.project / ".changeover"))
    assert names.deployments == ["echo"]
    assert "headline.answer" in names.tasks
    with pytest.raises(ChangeoverError, match="does not list"):
        await names_at(tools_up.address, "co_no_key")
