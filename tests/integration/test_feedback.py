"""Feedback through the door: who may rate what, and what is kept of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.postgres import keep_in
from tests.support.projects import Running, open_written, running, write_project

from changeover.gateway.feedback import LONGEST_COMMENT
from changeover.gateway.keys import issue_key, make_team
from changeover.tasks.feedback import Feedback, feedback_since

CHAT = "/v1/chat/completions"
FEEDBACK = "/v1/feedback"
MAIL = "Ada's mail is ada@example.org."


@pytest.fixture
async def up(tmp_path: Path) -> AsyncGenerator[Running]:
    async with running(open_written(write_project(tmp_path / "p"))) as it:
        await it.ready("echo")
        yield it


async def asked(up: Running, key: str | None = None, task: str = "echo", **fields: Any) -> str:
    """Ask, and give the request's id."""
    body = {"model": task, "messages": [{"role": "user", "content": "hi"}], **fields}
    async with (
        aiohttp.ClientSession(up.address, headers=up.headers(key)) as http,
        http.post(CHAT, json=body) as response,
    ):
        await response.read()
        return response.headers["x-changeover-request-id"]


async def rate(up: Running, key: str | None = None, **body: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession(up.address, headers=up.headers(key)) as http,
        http.post(FEEDBACK, json=body) as response,
    ):
        return response.status, await response.json()


def kept(up: Running) -> list[Feedback]:
    with up.installation.store.read() as connection:
        return feedback_since(connection, 0)


async def known(up: Running, **more: Any) -> str:
    """Another application's key, once the gateway knows it."""
    with up.installation.store.write() as connection:
        key = issue_key(connection, role="application", now=up.installation.clock.now(), **more)
    async with aiohttp.ClientSession(up.address, headers=up.headers(key)) as http, asyncio.timeout(10):
        while (await http.get("/v1/models")).status == 401:
            await asyncio.sleep(0.05)
    return key


async def test_an_answer_is_rated_at_once_by_whoever_got_it(tmp_path: Path, store_url: str) -> None:
    async with running(open_written(keep_in(write_project(tmp_path / "p"), store_url))) as up:
        await up.ready("echo")
        id = await asked(up)  # its exchange is not written yet
        assert await rate(up, request_id=id, good=False, comment=MAIL) == (
            200,
            {"object": "feedback", "request_id": id, "good": False, "comment": MAIL},
        )
        assert (await rate(up, request_id=id, good=False, comment=MAIL))[0] == 200
        assert (await rate(up, request_id=id, good=True))[0] == 200
        first, second = kept(up)
    assert (first.exchange, first.task, first.good, first.comment) == (id, "echo", False, MAIL)
    assert (second.good, second.comment, second.variant) == (True, None, first.variant)


async def test_nobody_rates_what_others_asked_but_operators_and_the_same_team(up: Running) -> None:
    with up.installation.store.write() as connection:
        make_team(connection, "legal", (), up.installation.clock.now())
    one, other = [await known(up, name=name, team="legal") for name in ("one", "other")]
    stranger = await known(up, name="stranger")
    id = await asked(up, one)
    status, said = await rate(up, stranger, request_id=id, good=False)
    assert (status, said["error"]["code"]) == (404, "unknown_request")
    unknown = "req_0000000000-00000000"
    refused = await rate(up, stranger, request_id=unknown, good=False)
    assert refused[0] == 404
    assert refused[1]["error"]["message"] == said["error"]["message"].replace(id, unknown), "it learns nothing"
    assert kept(up) == []
    for key in (one, other, up.operator):
        assert (await rate(up, key, request_id=id, good=True))[0] == 200
    assert len({each.key for each in kept(up)}) == 3


@pytest.mark.parametrize(
    ("record", "comment"), [("full", MAIL), ("redacted", "Ada's mail is [email 1]."), ("metadata", None)]
)
async def test_a_comment_is_kept_as_the_task_keeps_content(tmp_path: Path, record: str, comment: str | None) -> None:
    directory = write_project(tmp_path / "p", record=record)
    async with running(open_written(directory)) as up:
        await up.ready("echo")
        status, said = await rate(up, request_id=await asked(up), good=True, comment=MAIL)
        assert (status, said["comment"]) == (200, comment)
        assert [each.comment for each in kept(up)] == [comment]
    if record != "full":
        database = b"".join(file.read_bytes() for file in (directory / ".changeover").glob("changeover.db*"))
        assert b"ada@example.org" not in database


async def test_what_is_not_recorded_cannot_be_rated(tmp_path: Path) -> None:
    async with running(open_written(write_project(tmp_path / "p", record="off"))) as up:
        await up.ready("echo")
        status, said = await rate(up, request_id=await asked(up), good=True)
        assert (status, said["error"]["code"]) == (404, "unknown_request")
        assert 'record = "off"' in said["error"]["message"]


async def test_a_request_that_nobody_answered_cannot_be_rated(tmp_path: Path) -> None:
    directory = write_project(tmp_path / "p")
    with (directory / "tasks" / "echo.toml").open("a") as task:
        task.write('[echo]\nfault = "error_500"\n')
    async with running(open_written(directory)) as up:
        status, said = await rate(up, request_id=await asked(up), good=False)
        assert status == 400
        assert "answered by nobody" in said["error"]["message"]
        assert kept(up) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "`request_id` is missing"),
        ({"request_id": 7, "good": True}, "`request_id` is missing"),
        ({"request_id": "req_1"}, "`good` must be"),
        ({"request_id": "req_1", "good": "yes"}, "`good` must be"),
        ({"request_id": "req_1", "good": True, "comment": 1}, "`comment` must be"),
        ({"request_id": "req_1", "good": True, "comment": "x" * (LONGEST_COMMENT + 1)}, "`comment` has 2001"),
        ({"request_id": "req_1", "good": True, "coment": "x"}, "Did you mean `comment`?"),
    ],
)
async def test_a_wrong_rating_is_refused_with_the_field(up: Running, body: dict[str, Any], field: str) -> None:
    status, said = await rate(up, **body)
    assert status == 400
    assert field in said["error"]["message"]
    assert kept(up) == []


async def test_a_flood_of_ratings_for_unknown_requests_delays_no_answer_and_is_bounded(up: Running) -> None:
    flood = [rate(up, request_id=f"req_{n:010d}-00000000", good=True) for n in range(150)]
    got = asyncio.gather(*flood)
    await asyncio.sleep(0.2)
    async with asyncio.timeout(5):
        await asked(up)
    statuses = [status for status, _ in await got]
    assert set(statuses) == {404, 429}
    assert statuses.count(404) >= 100
