"""The playground: prompts side by side on engines that run, and good cases that become samples."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.async_api import expect
from sqlalchemy import select, update
from starlette.applications import Starlette
from tests.support import browser
from tests.support.console import HOST, MOST_BODY, BusyConsole
from tests.support.processes import Up

from changeover.app.asgi import serving
from changeover.app.keeping import Case, keep
from changeover.app.listening import address_of, listen
from changeover.console.app import console
from changeover.console.areas.playground import figures
from changeover.console.desk import Desk
from changeover.console.plays import MOST_CHARS, MOST_PLAYS, Column, Memory, Plays, Prompt
from changeover.core.clock import SystemClock
from changeover.core.errors import DatasetError
from changeover.evals.datasets import Dataset, Message
from changeover.gateway.keys import issue_key
from changeover.rollouts.actions import By
from changeover.store.audit import Wanted, acts
from changeover.store.schema import exchanges

ATTACK = "</pre><script>alert(1)</script>"
TASK = "summarise"


@asynccontextmanager
async def made(up: Up, host: str = HOST) -> AsyncGenerator[Starlette]:
    """The console of a system that runs."""
    with up.opened() as installation:
        desk = Desk(installation)
        app = console(desk.gateway, hosts=(host,), most_body_bytes=MOST_BODY, desk=desk)
        yield app
        await app.state.sessions.close()


@asynccontextmanager
async def playing(up: Up, key: str) -> AsyncGenerator[httpx2.AsyncClient]:
    """A browser of whoever holds a key."""
    async with made(up) as app:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            answer = await client.post("/sign-in", data={"key": key})
            assert answer.status_code == 303, answer.text
            yield client


@pytest.fixture(scope="module")
def steerer(tools_up: Up) -> str:
    with tools_up.opened() as installation, installation.store.write() as connection:
        return issue_key(connection, name="play", role="operator", now=SystemClock().now())


async def asked(client: httpx2.AsyncClient, names: Sequence[str], **fields: str) -> str:
    """Send the form: the address of the play."""
    token = re.search(r'name="csrf" value="([^"]+)"', (await client.get("/playground")).text)
    assert token is not None
    answer = await client.post("/playground", data={"csrf": token[1], "ask": list(names), **fields})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def pieces(events: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: {")]


async def test_a_deployment_and_a_task_answer_side_by_side_while_it_is_written(tools_up: Up, steerer: str) -> None:
    async with playing(tools_up, steerer) as client:
        play = await asked(client, ["@echo", "talk.say"], user=f"good morning {ATTACK}", max_tokens="64")
        for number in (0, 1):
            told = await client.get(f"{play}/{number}/events")
            assert told.text.endswith("event: ended\ndata: \n\n")
            said = pieces(told.text)
            assert "".join(each["text"] for each in said).endswith(f"good morning {ATTACK}")
            assert "first\u00a0token\u00a0after" in said[-1]["figures"]
            assert "tokens" in said[-1]["figures"]
            later = pieces((await client.get(f"{play}/{number}/events?after=5,0")).text)
            assert later[0]["text"] == "".join(each["text"] for each in said)[5:]
            part = await client.get(f"{play}/{number}/part", headers={"hx-request": "true"})
            assert "answered by echo" in part.text
            assert ATTACK not in part.text
        page = (await client.get(play)).text
        assert ATTACK not in page
        assert "&lt;/pre&gt;&lt;script&gt;" in page
        assert page.count("data-play=") == 0, "nothing is listened to that has ended"
        assert "good morning" in (await client.get("/playground")).text, "it stands in the list"


async def test_who_cannot_answer_says_so_in_their_own_column(tools_up: Up, steerer: str) -> None:
    async with playing(tools_up, steerer) as client:
        play = await asked(client, ["@nobody", "@echo"], user="hello")
        for number in (0, 1):
            await client.get(f"{play}/{number}/events")
        refused, answered = [(await client.get(f"{play}/{number}/part")).text for number in (0, 1)]
    assert "<code>@nobody</code>" in refused
    assert 'role="alert"' not in answered


async def test_an_application_is_offered_its_tasks_and_no_deployment(tools_up: Up) -> None:
    async with playing(tools_up, tools_up.key) as client:
        page = (await client.get("/playground")).text
        assert '<option value="talk.say">' in page
        assert '<option value="@' not in page
        play = await asked(client, ["@echo"], user="hello")
        await client.get(f"{play}/0/events")
        assert 'role="alert"' in (await client.get(play)).text, "naming one by hand is refused by the gateway"
        assert (await client.get("/playground?exchange=req_1")).status_code == 403


def test_a_pace_is_told_of_what_came_over_some_time_and_says_whether_its_tokens_were_counted() -> None:
    column = Column(name="a", first_s=0.5, last_s=2.5, pieces=21)
    assert figures(column, "en").replace("\u00a0", " ") == "first token after 500 ms · ≈ 21 tokens · 10.0 tokens/s"
    column.completion_tokens = 41
    assert figures(column, "en").replace("\u00a0", " ") == "first token after 500 ms · 41 tokens · 20.0 tokens/s"
    at_once = Column(name="a", first_s=0.5, last_s=0.51, completion_tokens=41)
    assert at_once.pace is None
    assert figures(Column(name="a"), "en") == ""


@pytest.mark.skipif(browser.missing() is not None, reason=browser.missing() or "")
async def test_a_page_that_is_open_shows_answers_as_they_come(tools_up: Up, steerer: str) -> None:
    listener = listen("127.0.0.1", 0)
    address, listening, wrong = address_of(listener), asyncio.Event(), list[str]()
    async with made(tools_up, "127.0.0.1") as app:
        server = serving(app, listening.set, drain_s=1)
        served = asyncio.create_task(server.serve([listener]))
        await listening.wait()
        try:
            async with browser.browsing() as page:
                page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
                page.on("pageerror", lambda error: wrong.append(str(error)))
                await page.goto(f"{address}/sign-in")
                await page.get_by_label("Key").fill(steerer)
                await page.get_by_role("button", name="Sign in").click()
                await page.goto(f"{address}/playground")
                await page.get_by_label("Prompt").fill(f"good morning {ATTACK}")
                await page.locator("select[name=ask]").nth(0).select_option("@echo")
                await page.locator("select[name=ask]").nth(1).select_option("talk.say")
                await page.get_by_role("button", name="Ask", exact=True).click()
                for number in (0, 1):
                    answer = page.locator(f"#answer-{number}")
                    await expect(answer.get_by_text("Keep as a sample")).to_be_visible()
                    await expect(answer.locator(".text")).to_contain_text(f"good morning {ATTACK}")
                await expect(page.get_by_role("button", name="Stop")).to_have_count(0)
        finally:
            server.stop()
            await served
            listener.close()
    assert wrong == [], "no script or style was refused, and none failed"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"user": " "}, "empty"),
        ({"user": "x", "max_tokens": "0"}, "whole number"),
        ({"user": "x", "max_tokens": f"{1:012}{9:05000}"}, "whole number"),
        ({"user": "x", "temperature": "hot"}, "temperature"),
        ({"user": "x", "ask": ""}, "at least one"),
    ],
)
async def test_a_prompt_that_nobody_can_be_asked_is_refused_with_what_was_typed(
    busy_console: BusyConsole, fields: dict[str, str], says: str
) -> None:
    async with busy_console.signed_in("operator") as client:
        answer = await busy_console.send(client, "/playground", **{"ask": "@echo", "system": "Be brief.", **fields})
    assert answer.status_code == 400
    assert says in answer.text
    assert "Be brief.</textarea>" in answer.text


@asynccontextmanager
async def silent_gateway() -> AsyncGenerator[tuple[tuple[str, str], asyncio.Event]]:
    """A way to one that takes a request and says nothing, and what is set when one has come."""
    heard, done = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        heard.set()
        await done.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    yield (f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "co_key"), heard
    done.set()
    server.close()
    await server.wait_closed()


async def test_an_answer_that_is_stopped_keeps_what_was_there() -> None:
    async with silent_gateway() as (way, heard):
        play = await Plays(Memory()).begin(way, Prompt(user="hello"), ["a"], SystemClock().now())
        await heard.wait()
        await play.stop()
    assert [column.state for column in play.columns] == ["stopped"]
    assert [look async for look in play.columns[0].looks()] == [True], "whoever listens hears of the end"


async def test_all_sessions_plays_together_are_bounded_and_the_eldest_that_has_ended_goes_first() -> None:
    now, memory = SystemClock().now(), Memory(most_chars=3 * MOST_CHARS + 100)
    one, other, short = Plays(memory), Plays(memory), Prompt(user="hello")
    async with silent_gateway() as (way, _):
        eldest = await one.begin(way, short, ["a"], now)
        ended = await one.begin(way, Prompt(user="x" * MOST_CHARS), ["a"], now)
        await ended.stop()
        begun = [await other.begin(way, short, ["a"], now) for _ in range(2)]
        assert [*one] == [eldest], "the eldest is still answered"
        begun.append(await other.begin(way, short, ["a"], now))
        assert [*one] == []
        assert eldest.columns[0].state == "stopped"
        assert [*other] == begun[::-1]
        assert memory.chars == 3 * (MOST_CHARS + len("hello"))
        await other.close()
    assert memory.chars == 0


async def test_a_session_keeps_its_newest_plays() -> None:
    plays = Plays(Memory())
    async with silent_gateway() as (way, _):
        begun = [
            await plays.begin(way, Prompt(user="hello"), ["a"], SystemClock().now()) for _ in range(MOST_PLAYS + 1)
        ]
        assert [*plays] == begun[:0:-1]
        assert begun[0].columns[0].state == "stopped"
        await plays.close()


@pytest.fixture
def recorded(busy_console: BusyConsole) -> str:
    """Id of an exchange that holds somebody's address."""
    message = f"Write to ana@example.org that the lift is out of service. {ATTACK}"
    body = {"model": TASK, "messages": [{"role": "user", "content": message}]}
    with busy_console.installation.store.write() as connection:
        query = select(exchanges.c.id).where(exchanges.c.task == TASK, exchanges.c.request.is_not(None)).limit(1)
        id = connection.execute(query).scalar_one()
        answer = {"role": "assistant", "content": "The lift is out; ana@example.org knows."}
        values = {"request": json.dumps(body), "response": json.dumps(answer)}
        connection.execute(update(exchanges).where(exchanges.c.id == id).values(**values))
    return id


async def test_a_recorded_exchange_becomes_a_sample_once_and_masked(busy_console: BusyConsole, recorded: str) -> None:
    installation = busy_console.installation
    task = installation.tasks[TASK]
    before = Dataset.load(task.dataset)
    async with busy_console.signed_in("operator") as client:
        page = await client.get(f"/playground?exchange={recorded}")
        assert "ana@example.org" not in page.text
        assert "The lift is out; [email-1] knows.</textarea>" in page.text
        assert ATTACK not in page.text
        fields = {"task": TASK, "target": '{"all": ["lift", "[email-1]"]}', "tags": "lift, german"}
        kept = await busy_console.send(client, f"/playground/keep?exchange={recorded}", **fields)
        assert kept.status_code == 303, kept.text
        assert "Kept as sample" in (await client.get(kept.headers["location"])).text
        again = await busy_console.send(client, f"/playground/keep?exchange={recorded}", **fields)
        assert again.status_code == 400
        assert "asks the same already" in again.text
        assert "lift, german" in again.text
    after = Dataset.load(task.dataset)
    assert len(after.samples) == len(before.samples) + 1
    sample = after.samples[-1]
    assert (sample.target, sample.tags) == ({"all": ["lift", "[email-1]"]}, ("lift", "german"))
    assert "[email-1]" in sample.text
    assert recorded in (sample.source or "")
    with installation.store.read() as connection:
        noted = acts(connection, Wanted(action="keep"))
    assert [(act.subject, act.task) for act in noted] == [(f"sample {sample.id}", TASK)]


async def test_a_recorded_conversation_is_asked_again_from_its_beginning(busy_console: BusyConsole) -> None:
    said = [("system", "Be kind."), ("user", "Hello."), ("assistant", "Good day."), ("user", "Where is it?")]
    body = {"messages": [{"role": role, "content": content} for role, content in said]}
    with busy_console.installation.store.write() as connection:
        query = select(exchanges.c.id).where(exchanges.c.task == TASK, exchanges.c.request.is_not(None))
        id = connection.execute(query.order_by(exchanges.c.id.desc()).limit(1)).scalar_one()
        connection.execute(update(exchanges).where(exchanges.c.id == id).values(request=json.dumps(body)))
    async with busy_console.signed_in("operator") as client:
        page = (await client.get(f"/playground?exchange={id}")).text
    assert "Be kind.</textarea>" in page
    assert "Where is it?</textarea>" in page
    assert "2 earlier messages of the conversation" in page


async def test_a_target_that_the_scorer_cannot_read_is_refused_and_nothing_is_written(
    busy_console: BusyConsole, recorded: str
) -> None:
    file = busy_console.installation.tasks["code"].dataset
    before = file.read_bytes()
    async with busy_console.signed_in("operator") as client:
        fields = {"task": "code", "target": '{"al": ["lift"]}'}
        answer = await busy_console.send(client, f"/playground/keep?exchange={recorded}", **fields)
    assert answer.status_code == 400
    assert "<code>target.al</code>" in answer.text
    assert file.read_bytes() == before


def test_a_case_of_a_task_whose_dataset_is_shared_is_kept_beside_it(busy_console: BusyConsole) -> None:
    installation = busy_console.installation
    one, other = installation.tasks["code"], installation.tasks[TASK]
    shared = replace(installation, tasks={"code": replace(one, dataset=other.dataset), TASK: other})
    before = other.dataset.read_bytes()
    prompt = Message(role="system", content=one.prompt)
    case = Case(
        messages=(prompt, Message(role="user", content="Write `double(number)`.")),
        target='{"all": ["def double"]}',
        tags=(),
        source="here",
    )
    by = By(actor="key:ana", reason="", now=SystemClock().now())
    kept = keep(shared, "code", case, by)
    assert (kept.path, kept.is_dataset, kept.samples) == ("evals/code/kept.jsonl", False, 1)
    (sample,) = Dataset.load(installation.project.root / Path(kept.path)).samples
    assert [message.role for message in sample.input] == ["user"], "the gateway puts the task's prompt before it"
    with pytest.raises(DatasetError, match="asks the same already"):
        keep(shared, "code", case, by)
    assert other.dataset.read_bytes() == before
