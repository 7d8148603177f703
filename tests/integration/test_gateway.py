"""The door over real sockets: the whole system, echo engines as child processes."""

import asyncio
import io
import json
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI, NotFoundError
from tests.support.projects import Running, deploy_echo, open_written, running, write_project

from changeover.gateway.keys import issue_key, revoke_key
from changeover.rollouts.actions import By, plan_of, roll_back, start
from changeover.serving.queries import want
from changeover.tasks.queries import recent_exchanges

CHAT = "/v1/chat/completions"


@pytest.fixture
async def up(tmp_path: Path) -> AsyncGenerator[Running]:
    async with running(open_written(write_project(tmp_path / "p"))) as it:
        await it.ready("echo")
        yield it


@pytest.fixture
async def http(up: Running) -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(up.address, headers=up.headers()) as session:
        yield session


def body(text: str = "hello there", **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **fields}


async def switch(up: Running, deployment: str, weight: float = 0.5, **options: Any) -> None:
    """Bring a candidate in with a weight, and wait until the gateway follows."""
    variant = deploy_echo(up.installation, deployment, **options)
    declared = up.installation.tasks["echo"].declared
    steps = ({"canary": weight, "requests": 10_000, "hold_s": 0},)
    declared = declared.model_validate({**declared.model_dump(), "steps": steps})
    by = By(actor="test", reason="test", now=up.installation.clock.now())
    with up.installation.store.write() as connection:
        start(connection, variant, plan_of(declared), None, by)
    async with asyncio.timeout(20):
        while up.system.snapshot.tasks["echo"].route.candidate != variant.id:
            await asyncio.sleep(0.02)


async def test_the_official_client_gets_an_answer_whole_and_streamed(up: Running) -> None:
    async with AsyncOpenAI(base_url=f"{up.address}/v1", api_key=up.key) as client:
        whole = await client.chat.completions.create(**body())
        assert whole.model == "echo"
        assert whole.choices[0].message.content == "hello there"
        assert whole.usage is not None
        pieces = [chunk async for chunk in await client.chat.completions.create(**body(), stream=True)]
        assert "".join(c.choices[0].delta.content or "" for c in pieces if c.choices) == "hello there"
        assert {chunk.model for chunk in pieces} == {"echo"}
        assert all(chunk.usage is None for chunk in pieces), "usage was not asked for"
        assert [model.id async for model in client.models.list()] == ["echo"]
        with pytest.raises(NotFoundError, match="Known: echo"):
            await client.chat.completions.create(**{**body(), "model": "gpt-9"})


async def test_usage_comes_in_the_stream_when_it_is_asked_for(http: aiohttp.ClientSession) -> None:
    asked = body(stream=True, stream_options={"include_usage": True})
    async with http.post(CHAT, json=asked) as response:
        text = await response.text()
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert events[-1]["usage"]["completion_tokens"] > 0
    assert text.endswith("data: [DONE]\n\n")


async def test_headers_say_who_answered(http: aiohttp.ClientSession) -> None:
    for stream in (False, True):
        async with http.post(CHAT, json=body(stream=stream)) as response:
            assert response.status == 200
            assert response.headers["x-changeover-deployment"] == "echo"
            assert response.headers["x-changeover-route"] == "1"
            assert len(response.headers["x-changeover-bundle"]) == 12
            assert response.headers["x-changeover-request-id"].startswith("req_")
            await response.read()


async def test_refusals_are_envelopes_that_name_who_failed(up: Running, http: aiohttp.ClientSession) -> None:
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"headers": {"authorization": "Bearer wrong"}, "json": body()}, 401, "invalid_api_key"),
        ({"headers": {"authorization": "Basic x"}, "json": body()}, 401, "invalid_api_key"),
        ({"json": body() | {"model": "nope"}}, 404, "unknown_task"),
        ({"data": b"{"}, 400, "invalid_request"),
        ({"json": {"model": "echo"}}, 400, "invalid_request"),
        ({"data": io.BytesIO(b"x" * (9 << 20))}, 413, "invalid_request"),
    ]
    for sent, status, code in cases:
        async with http.post(CHAT, **sent) as response:
            error = (await response.json())["error"]
            assert (response.status, error["code"], error["source"]) == (status, code, "gateway")
            assert error["request_id"].startswith("req_")
    async with http.get("/v1/nothing") as response:
        assert response.status == 404
    async with aiohttp.ClientSession() as stranger, stranger.get(f"{up.address}/v1/models") as response:
        assert response.status == 401
        assert response.headers["www-authenticate"] == "Bearer"
    async with aiohttp.ClientSession() as stranger, stranger.get(f"{up.address}/healthz") as response:
        assert (await response.json())["status"] == "ok"


async def test_a_revoked_key_and_a_new_one_are_followed(up: Running, http: aiohttp.ClientSession) -> None:
    now = up.installation.clock.now()
    with up.installation.store.write() as connection:
        fresh = issue_key(connection, name="fresh", role="application", now=now)
        revoke_key(connection, "first", now)
    async with asyncio.timeout(20):
        while True:
            async with (
                http.post(CHAT, json=body()) as old,
                http.post(CHAT, json=body(), headers=up.headers(fresh)) as new,
            ):
                if (old.status, new.status) == (401, 200):
                    break
            await asyncio.sleep(0.1)


async def test_an_exchange_is_recorded_with_its_content_and_without_the_key(
    up: Running, http: aiohttp.ClientSession
) -> None:
    for stream in (False, True):
        async with http.post(CHAT, json=body("remember this", stream=stream)) as response:
            await response.read()
    async with asyncio.timeout(20):
        while len(rows := exchanges(up)) < 2:
            await asyncio.sleep(0.05)
    for row in rows:
        assert (row.status, row.side, row.deployment, row.truncated) == (200, "incumbent", "echo", False)
        assert row.completion_tokens
        assert "remember this" in (row.request or "")
        assert json.loads(row.response or "")["content"] == "remember this"
        assert up.key not in f"{row.request}{row.response}"


def exchanges(up: Running) -> list[Any]:
    with up.installation.store.read() as connection:
        return list(recent_exchanges(connection, "echo"))


@pytest.mark.parametrize("fault", ["refuse", "hang", "error_500", "error_429", "cut_before_first"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_candidate_that_fails_before_its_first_byte_costs_no_request(
    tmp_path: Path, fault: str, stream: bool
) -> None:
    project = write_project(tmp_path / "p", timeout_s=3)
    async with running(open_written(project)) as up:
        await up.ready("echo")
        await switch(up, "bad", weight=0.999999, fault=fault)
        await up.ready("bad")
        async with (
            aiohttp.ClientSession(up.address, headers=up.headers()) as http,
            http.post(CHAT, json=body(stream=stream)) as response,
        ):
            assert response.status == 200
            assert response.headers["x-changeover-deployment"] == "echo"
            assert "hello" in await response.text()
        async with asyncio.timeout(20):
            while not (rows := exchanges(up)):
                await asyncio.sleep(0.05)
        assert len(rows[0].failed_variants) == 1, "the guard sees what the caller did not"
        assert rows[0].attempts == 2


async def test_a_stream_that_breaks_after_its_first_byte_goes_on_elsewhere_and_is_counted(up: Running) -> None:
    await switch(up, "cuts", weight=0.999999, fault="cut_after", fault_after=2, chunk_delay_s=0.05)
    await up.ready("cuts")
    async with (
        aiohttp.ClientSession(up.address, headers=up.headers()) as http,
        http.post(CHAT, json=body("one two three four five six", stream=True)) as response,
    ):
        assert response.status == 200
        text = await response.text()
    assert text.endswith("data: [DONE]\n\n")
    events = [json.loads(each[6:]) for each in text.split("\n\n") if each.startswith("data: {")]
    words = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
    assert "".join(words) == "one two three four five six"
    async with asyncio.timeout(20):
        while not (rows := exchanges(up)):
            await asyncio.sleep(0.05)
    assert not rows[0].truncated
    assert rows[0].failed_variants == (rows[0].begun_by,), "the guard sees what the caller did not"
    assert rows[0].deployment == "echo"


async def test_a_failing_whole_answer_is_tried_elsewhere_even_when_it_breaks_in_the_middle(up: Running) -> None:
    await switch(up, "cuts", weight=0.999999, fault="cut_after", fault_after=2)
    await up.ready("cuts")
    async with (
        aiohttp.ClientSession(up.address, headers=up.headers()) as http,
        http.post(CHAT, json=body("one two three four")) as response,
    ):
        assert response.status == 200
        assert response.headers["x-changeover-deployment"] == "echo"


async def test_an_engine_that_is_killed_costs_no_request_and_comes_back(up: Running) -> None:
    """Whole answers, because a stream that has begun cannot be begun again."""
    await switch(up, "other", weight=0.5)
    await up.ready("other")
    failures: list[int] = []

    async def client(number: int) -> None:
        async with aiohttp.ClientSession(up.address, headers=up.headers()) as http:
            for turn in range(40):
                async with http.post(CHAT, json=body(user=f"{number}-{turn}")) as response:
                    await response.read()
                    if response.status != 200:
                        failures.append(response.status)

    async def kill() -> None:
        for name in ("other", "echo"):
            await asyncio.sleep(0.1)
            status = next(s for s in up.system.fleet.statuses() if s.name == name)
            assert status.pid is not None
            os.kill(status.pid, signal.SIGKILL)
            await asyncio.sleep(0.05)
            await up.ready(name)

    await asyncio.gather(*(client(number) for number in range(4)), kill())
    assert failures == []


async def test_without_a_ready_engine_the_caller_waits_and_then_gets_a_503(tmp_path: Path) -> None:
    installation = open_written(write_project(tmp_path / "p", gateway="ready_wait_s = 0.5"))
    async with running(installation) as up:
        await up.ready("echo")
        with installation.store.write() as connection:
            want(connection, "echo", "stopped", installation.clock.now())
        async with asyncio.timeout(20):
            while up.system.fleet.is_ready("echo"):
                await asyncio.sleep(0.02)
        async with (
            aiohttp.ClientSession(up.address, headers=up.headers()) as http,
            http.post(CHAT, json=body()) as response,
        ):
            assert response.status == 503
            assert int(response.headers["retry-after"]) >= 1
            assert (await response.json())["error"]["code"] == "not_ready"


async def test_a_caller_who_leaves_frees_the_engine(up: Running) -> None:
    await switch(up, "slow", weight=0.999999, delay_s=30)
    await up.ready("slow")
    async with aiohttp.ClientSession(up.address, headers=up.headers()) as http:
        with pytest.raises(TimeoutError):
            await http.post(CHAT, json=body(), timeout=aiohttp.ClientTimeout(total=0.3))
    upstream = up.system.fleet.upstream("slow")
    assert upstream is not None
    async with asyncio.timeout(20):  # its answer would take 30 s
        while upstream.in_flight:
            await asyncio.sleep(0.02)
    async with asyncio.timeout(20):
        while not (rows := exchanges(up)):
            await asyncio.sleep(0.05)
    assert rows[0].abandoned


async def test_a_request_under_way_ends_on_the_revision_it_started_with(up: Running) -> None:
    await switch(up, "slow", weight=0.999999, delay_s=1.0)
    await up.ready("slow")
    revision = await up.route()
    async with aiohttp.ClientSession(up.address, headers=up.headers()) as http:

        async def ask() -> aiohttp.ClientResponse:
            async with http.post(CHAT, json=body(stream=True)) as response:
                await response.read()
                return response

        under_way = asyncio.create_task(ask())
        await asyncio.sleep(0.3)
        with up.installation.store.write() as connection:
            roll_back(connection, "echo", By(actor="test", reason="", now=up.installation.clock.now()))
        async with asyncio.timeout(2):
            while await up.route() == revision:
                await asyncio.sleep(0.01)
        after = await ask()
        before = await under_way
    assert before.headers["x-changeover-route"] == str(revision)
    assert before.headers["x-changeover-deployment"] == "slow"
    assert after.headers["x-changeover-deployment"] == "echo"


async def test_more_requests_than_allowed_at_once_are_told_to_come_back(tmp_path: Path) -> None:
    installation = open_written(write_project(tmp_path / "p", gateway="max_in_flight = 2"))
    async with running(installation) as up:
        await up.ready("echo")
        await switch(up, "slow", weight=0.999999, delay_s=0.5)
        await up.ready("slow")
        async with aiohttp.ClientSession(up.address, headers=up.headers()) as http:

            async def ask() -> tuple[int, str | None]:
                async with http.post(CHAT, json=body()) as response:
                    return response.status, response.headers.get("retry-after")

            answers = await asyncio.gather(*(ask() for _ in range(6)))
        assert sorted(status for status, _ in answers) == [200, 200, 429, 429, 429, 429]
        assert all(wait for status, wait in answers if status == 429)


async def test_a_store_that_is_gone_stops_nobody(up: Running, http: aiohttp.ClientSession) -> None:
    database = up.installation.project.state / "changeover.db"
    hidden = database.with_suffix(".hidden")
    up.installation.store.engine.dispose()
    database.rename(hidden)
    database.mkdir()
    try:
        await asyncio.sleep(0.5)
        async with http.post(CHAT, json=body("still here")) as response:
            assert response.status == 200
        async with http.get("/healthz", headers=up.headers(up.operator)) as response:
            assert (await response.json())["store_stale"] is True
    finally:
        up.installation.store.engine.dispose()
        database.rmdir()
        hidden.rename(database)
    async with asyncio.timeout(10):
        while not any("still here" in (row.request or "") for row in exchanges(up)):
            await asyncio.sleep(0.1)
