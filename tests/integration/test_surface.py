"""Every endpoint of the door over real sockets: whole and streamed, in the shapes that OpenAI's and Anthropic's have."""

import asyncio
import base64
import json
import struct
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.projects import Running, open_written, running, write_project

from changeover.core.digest import sha256_text
from changeover.core.ids import new_id, new_secret
from changeover.store.schema import keys
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import recent_exchanges

CHAT = "/v1/chat/completions"


@pytest.fixture
async def up(tmp_path: Path) -> AsyncGenerator[Running]:
    async with running(open_written(write_project(tmp_path / "p", ("echo", "other")))) as up:
        await up.ready("echo")
        yield up


@pytest.fixture
async def http(up: Running) -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(up.address, headers=up.headers()) as session:
        yield session


async def post(http: aiohttp.ClientSession, path: str, **fields: Any) -> tuple[Any, dict[str, Any]]:
    async with http.post(path, json={"model": "echo", **fields}) as response:
        said = await response.json()
        assert response.status == 200, said
        return response.headers, said


async def stream(http: aiohttp.ClientSession, path: str, **fields: Any) -> tuple[Any, list[Any]]:
    """The headers and the events of a stream: JSON values, or `[DONE]`."""
    async with http.post(path, json={"model": "echo", "stream": True, **fields}) as response:
        body = (await response.read()).decode()
        assert response.status == 200, body
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line[6:] for line in body.splitlines() if line.startswith("data: ")]
        return response.headers, [json.loads(line) if line.startswith("{") else line for line in lines]


async def recorded(up: Running, count: int) -> list[Exchange]:
    async with asyncio.timeout(10):
        while True:
            with up.installation.store.read() as connection:
                rows = recent_exchanges(connection, "echo", 100)
            if len(rows) >= count:
                return list(rows)
            await asyncio.sleep(0.05)


def check_names(headers: Any) -> None:
    assert headers["x-changeover-deployment"] == "echo"
    assert int(headers["x-changeover-route"]) >= 1
    assert len(headers["x-changeover-bundle"]) == 12
    assert headers["x-changeover-request-id"].startswith("req_")


ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "one two three"}]},
    "/v1/completions": {"prompt": "one two three"},
    "/v1/responses": {"input": "one two three"},
    "/v1/messages": {"messages": [{"role": "user", "content": "one two three"}], "max_tokens": 50},
}


@pytest.mark.parametrize("path", ASKED)
async def test_every_endpoint_names_the_task_and_says_who_answered_whole_and_streamed(
    up: Running, http: aiohttp.ClientSession, path: str
) -> None:
    headers, said = await post(http, path, **ASKED[path])
    check_names(headers)
    assert said["model"] == "echo"
    headers, events = await stream(http, path, **ASKED[path])
    check_names(headers)
    models = {
        holder["model"]
        for event in events
        if isinstance(event, dict)
        for holder in (event, event.get("response"), event.get("message"))
        if isinstance(holder, dict) and "model" in holder
    }
    assert models == {"echo"}
    for row in await recorded(up, 2):
        assert row.prompt_tokens, path
        assert row.completion_tokens, path
        assert not row.usage_estimated
        assert row.endpoint in path or row.endpoint == "chat"


async def test_chat_answers_whole(http: aiohttp.ClientSession) -> None:
    _, said = await post(http, CHAT, **ASKED[CHAT])
    assert said["object"] == "chat.completion"
    assert said["choices"][0]["message"]["content"] == "one two three"


async def test_a_stream_ends_with_its_usage_only_where_it_was_asked_for(http: aiohttp.ClientSession) -> None:
    _, plain = await stream(http, CHAT, **ASKED[CHAT])
    assert plain[-1] == "[DONE]"
    assert all(event["choices"] for event in plain[:-1])
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in plain[:-1]) == "one two three"
    _, counted = await stream(http, CHAT, **ASKED[CHAT], stream_options={"include_usage": True})
    assert counted[-2]["choices"] == []
    assert counted[-2]["usage"]["completion_tokens"] == 3


async def test_completions_continue_a_text(http: aiohttp.ClientSession) -> None:
    _, said = await post(http, "/v1/completions", **ASKED["/v1/completions"])
    assert said["object"] == "text_completion"
    assert "one two three" in said["choices"][0]["text"]
    _, events = await stream(http, "/v1/completions", **ASKED["/v1/completions"])
    assert events[-1] == "[DONE]"
    assert "one two three" in "".join(event["choices"][0]["text"] for event in events[:-1])


async def test_embeddings_are_vectors_as_numbers_or_packed(http: aiohttp.ClientSession) -> None:
    headers, said = await post(http, "/v1/embeddings", input=["a", "b", "a"])
    check_names(headers)
    assert (said["object"], said["model"], len(said["data"])) == ("list", "echo", 3)
    vectors = [each["embedding"] for each in said["data"]]
    assert vectors[0] == vectors[2] != vectors[1]
    _, packed = await post(http, "/v1/embeddings", input="a", encoding_format="base64")
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(vectors[0], abs=1e-6)


async def test_embeddings_are_not_streamed(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/embeddings", json={"model": "echo", "input": "a", "stream": True}) as response:
        assert response.status == 400
        assert "`stream`" in (await response.json())["error"]["message"]


async def test_responses_are_stateless(up: Running, http: aiohttp.ClientSession) -> None:
    _, said = await post(http, "/v1/responses", input="one two three", instructions="be brief")
    assert (said["object"], said["status"]) == ("response", "completed")
    _, events = await stream(http, "/v1/responses", input="one two three")
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    async with http.post(
        "/v1/responses", json={"model": "echo", "input": "x", "previous_response_id": "r"}
    ) as response:
        assert response.status == 400


async def test_messages_speak_anthropics_shape_and_take_its_key(up: Running) -> None:
    async with aiohttp.ClientSession(up.address, headers={"x-api-key": up.key}) as http:
        _, said = await post(http, "/v1/messages", **ASKED["/v1/messages"])
        assert (said["type"], said["role"]) == ("message", "assistant")
        _, events = await stream(http, "/v1/messages", **ASKED["/v1/messages"])
        assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
        async with http.post("/v1/messages", json={"model": "nothing"}) as response:
            assert response.status == 404
            assert (await response.json())["type"] == "error"


async def test_models_are_tasks_listed_and_one_by_one(up: Running, http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/models") as response:
        listed = (await response.json())["data"]
    assert [each["id"] for each in listed] == ["echo", "other"]
    async with http.get("/v1/models/echo") as response:
        assert (await response.json()) == listed[0]
    async with http.get("/v1/models/ecko") as response:
        assert response.status == 404
        assert "Did you mean `echo`?" in (await response.json())["error"]["message"]


def issue(up: Running, **granted: Any) -> str:
    secret = new_secret("co")
    values = {"tasks": None, "deployments": [], "limits": [], **granted}
    with up.installation.store.write() as connection:
        connection.execute(
            keys.insert().values(
                id=new_id("key"),
                name="narrow",
                role="application",
                digest=sha256_text(secret),
                created_at=up.installation.clock.now(),
                **values,
            )
        )
    return secret


async def test_a_deployment_is_named_only_by_a_key_that_was_granted_it(
    up: Running, http: aiohttp.ClientSession
) -> None:
    secret = issue(up, tasks=["other"], deployments=["echo"])
    async with aiohttp.ClientSession(up.address, headers={"authorization": f"Bearer {secret}"}) as narrow:
        async with asyncio.timeout(10):
            while True:
                async with narrow.get("/v1/models") as response:
                    if response.status == 200:
                        assert [each["id"] for each in (await response.json())["data"]] == ["echo", "other"]
                        break
                await asyncio.sleep(0.05)
        headers, said = await post(narrow, CHAT, **ASKED[CHAT])
        assert said["model"] == "echo"
        assert headers["x-changeover-route"] == "0", "past any task's route"
        async with narrow.post(CHAT, json={**ASKED[CHAT], "model": "echo-2"}) as response:
            assert response.status == 404


async def test_unknown_names_get_a_404_that_lists_what_this_key_may_call(
    up: Running, http: aiohttp.ClientSession
) -> None:
    async with http.post(CHAT, json={"model": "gpt-oss-120b", **ASKED[CHAT]}) as response:
        assert response.status == 404
        error = (await response.json())["error"]
    assert error["code"] == "unknown_task"
    assert "Known: echo, other." in error["message"]


async def test_the_openapi_document_and_the_metrics_are_there_for_those_who_may_look(
    up: Running, http: aiohttp.ClientSession
) -> None:
    async with http.get("/openapi.json") as response:
        document = await response.json()
    assert set(ASKED) <= set(document["paths"])
    await post(http, CHAT, **ASKED[CHAT])
    await recorded(up, 1)
    async with http.get("/metrics", headers=up.headers(up.operator)) as response:
        text = await response.text()
    assert 'task="echo"' in text
    async with http.get("/metrics") as response:
        assert response.status == 403
