"""The record over a real store: what is kept, what is dropped under pressure, and what a bad engine can do to it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.support import stores
from tests.support.exchanges import exchange
from tests.support.projects import Running, open_written, running, write_project

from changeover.app.deploy import declared_variant, deploy
from changeover.core.clock import SystemClock
from changeover.core.errors import StoreError
from changeover.gateway.record import MOST_CONTENT_BYTES, Draft, Recorder
from changeover.gateway.usage import Usage
from changeover.rollouts.actions import By, plan_of, promote, start
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import keep_variant
from changeover.store.engine import Store
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import recent_exchanges

CHAT = "/v1/chat/completions"

ODD_ANSWERS = [
    b'{"choices": ["x"]}',
    b'{"choices": "x"}',
    b'{"choices": {"a": 1}}',
    b'{"choices": [{"message": {"content": 1}}]}',
]
ODD_STREAMS = [
    b'data: {"choices": ["x"]}\n\ndata: [DONE]\n\n',
    b'data: {"choices": "x"}\n\ndata: [DONE]\n\n',
    b'data: {"choices": {"a": 1}}\n\ndata: [DONE]\n\n',
    b'data: {"choices": [{"delta": "x"}]}\n\ndata: [DONE]\n\n',
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return stores.made(f"sqlite:///{tmp_path / 'changeover.db'}")


def draft(content: bytes | None = None, response: bytes | None = None, *, stream: bool = False) -> Draft:
    """An exchange with an answer of a model, as the door hands it over."""
    return Draft(
        exchange=exchange(stream=stream),
        request=content,
        response=None if response is None else (response,),
        content_bytes=len(content or b"") + len(response or b""),
    )


def rows(store: Store, task: str = "echo") -> dict[str, Exchange]:
    with store.read() as connection:
        return {row.id: row for row in recent_exchanges(connection, task, 1000)}


async def until_recorded(store: Store, task: str, count: int) -> Sequence[Exchange]:
    async with asyncio.timeout(10):
        while len(found := rows(store, task)) < count:
            await asyncio.sleep(0.02)
    return list(found.values())


async def test_metadata_keeps_the_numbers_and_no_content(tmp_path: Path) -> None:
    directory = write_project(tmp_path / "p", record="metadata")
    async with running(open_written(directory)) as up:
        await up.ready("echo")
        async with aiohttp.ClientSession(up.address, headers=up.headers()) as http:
            for stream in (False, True):
                asked = {"model": "echo", "messages": [{"role": "user", "content": "a secret"}], "stream": stream}
                async with http.post(CHAT, json=asked) as response:
                    assert response.status == 200
                    await response.read()
        kept = await until_recorded(up.installation.store, "echo", 2)
    for row in kept:
        assert (row.request, row.response) == (None, None)
        assert (row.completion_tokens, row.status, row.side) == (2, 200, "incumbent")
    database = b"".join(file.read_bytes() for file in (directory / ".changeover").glob("changeover.db*"))
    assert b"a secret" not in database


async def test_under_pressure_content_is_dropped_and_counted_and_the_numbers_stay(store: Store) -> None:
    recorder = Recorder(store, Usage("gw_test", SystemClock()))
    most = [draft(bytes(MOST_CONTENT_BYTES // 2)) for _ in range(2)]
    over = draft(b"one byte too many, and more")
    for each in (*most, over):
        recorder.record(each)
    assert recorder.dropped_content == 1
    await recorder.flush()
    after = draft(b"there is room again")
    recorder.record(after)
    await recorder.flush()
    kept = rows(store)
    assert {id: row.request is not None for id, row in kept.items()} == {
        **{each.exchange.id: True for each in most},
        over.exchange.id: False,
        after.exchange.id: True,
    }
    assert kept[over.exchange.id].completion_tokens == 5
    assert (recorder.dropped_content, recorder.lost) == (1, 0)


async def test_rows_wait_while_the_store_is_gone_and_are_written_once(store: Store, tmp_path: Path) -> None:
    recorder = Recorder(store, Usage("gw_test", SystemClock()))
    drafts = [draft(b"kept") for _ in range(3)]
    database = tmp_path / "changeover.db"
    hidden = database.with_suffix(".hidden")
    store.engine.dispose()
    database.rename(hidden)
    database.mkdir()
    for each in drafts:
        recorder.record(each)
    for _ in range(2):
        with pytest.raises(StoreError):
            await recorder.flush()
    store.engine.dispose()
    database.rmdir()
    hidden.rename(database)
    await recorder.flush()
    await recorder.flush()
    assert set(rows(store)) == {each.exchange.id for each in drafts}
    assert (recorder.dropped_content, recorder.lost) == (0, 0)


@pytest.mark.parametrize("answer", ODD_ANSWERS)
async def test_a_whole_answer_of_an_odd_shape_does_not_stop_the_record(store: Store, answer: bytes) -> None:
    await _recorded_beside_others(store, draft(b"{}", answer))


@pytest.mark.parametrize("answer", ODD_STREAMS)
async def test_a_stream_of_an_odd_shape_does_not_stop_the_record(store: Store, answer: bytes) -> None:
    await _recorded_beside_others(store, draft(b"{}", answer, stream=True))


async def _recorded_beside_others(store: Store, odd: Draft) -> None:
    recorder = Recorder(store, Usage("gw_test", SystemClock()))
    before, after = draft(b"before"), draft(b"after")
    for each in (before, odd, after):
        recorder.record(each)
    await recorder.flush()
    assert set(rows(store)) == {before.exchange.id, odd.exchange.id, after.exchange.id}


@asynccontextmanager
async def odd_server(whole: bytes, stream: bytes) -> AsyncGenerator[str]:
    """A compatible server that is not so compatible. Gives its base address."""

    async def chat(request: web.Request) -> web.Response:
        streams = (await request.json()).get("stream")
        kind = "text/event-stream" if streams else "application/json"
        return web.Response(body=stream if streams else whole, content_type=kind)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/v1"
    finally:
        await runner.cleanup()


async def test_an_engine_with_odd_answers_cannot_stop_the_system(tmp_path: Path) -> None:
    async with (
        running(open_written(write_project(tmp_path / "p", record="full"))) as up,
        odd_server(ODD_ANSWERS[0], ODD_STREAMS[0]) as address,
    ):
        await up.ready("echo")
        await _answered_by(up, "odd", {"base_url": address})
        async with aiohttp.ClientSession(up.address, headers=up.headers()) as http:
            for stream in (False, True):
                asked = {"model": "echo", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
                async with http.post(CHAT, json=asked) as response:
                    await response.read()
            await until_recorded(up.installation.store, "echo", 2)
            async with http.get("/healthz") as response:
                assert json.loads(await response.read())["status"] == "ok"


async def _answered_by(up: Running, name: str, options: dict[str, Any]) -> None:
    """Promote another server to the incumbent of the task `echo`, and wait until the gateway follows."""
    installation = up.installation
    deploy(installation, EnginePlan(deployment=name, backend="openai", model=name, options=options), "test")
    variant = declared_variant(installation, "echo", name)
    by = By(actor="test", reason="test", now=installation.clock.now())
    with installation.store.write() as connection:
        keep_variant(connection, variant, by.now)
        plan = plan_of(installation.tasks["echo"].declared)
        revision = promote(connection, start(connection, variant, plan, None, by), None, by).revision
    await up.ready(name)
    async with asyncio.timeout(5):
        while await up.route() != revision:
            await asyncio.sleep(0.02)
