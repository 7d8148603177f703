"""Shadow traffic over real sockets: a candidate that is asked after the answer, and what it can do to callers: nothing."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import aiohttp
import pytest
from tests.support.postgres import keep_in
from tests.support.projects import open_written, running, write_project
from tests.support.shadows import CHAT, PATIENCE_S, Story, begun, candidate, steps, told

from changeover.gateway.shadow import drawn
from changeover.rollouts.actions import By, abort
from changeover.tasks.queries import recent_exchanges

QUICK_S = 8.0
"""For what happens at once, on a machine that does something else meanwhile."""


async def test_a_request_is_copied_after_its_answer_with_the_candidates_own_variant(
    tmp_path: Path, store_url: str
) -> None:
    directory = keep_in(write_project(tmp_path / "p", steps=steps(1.0)), store_url)
    tools = [{"type": "function", "function": {"name": "book", "parameters": {"type": "object"}}}]
    async with told(directory) as story:
        id, said = await story.ask("one two three", user="ana", tools=tools, max_tokens=9, temperature=0.7)
        assert json.loads(said)["choices"][0]["message"]["content"] == "one two three"
        copy, (asked,), (headers,) = await story.copy_of(id), story.new.asked, story.new.headers
        original = story.rows()[id]
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert (asked["model"], asked["tools"], asked["max_tokens"]) == ("new-model", tools, 9)
    assert asked["temperature"] == 0.7
    assert "co-" not in json.dumps(headers)
    assert (copy.side, copy.shadow_of, copy.internal, copy.key, copy.team) == ("shadow", id, True, None, None)
    assert (copy.status, copy.variant, copy.deployment) == (200, story.rollout.candidate, "new")
    assert (copy.prompt_tokens, copy.completion_tokens, copy.content) == (7, 3, "full")
    assert json.loads(copy.response or "")["content"] == "from the candidate"
    assert (original.side, original.internal, original.shadow_of) == ("incumbent", False, None)


async def test_a_stream_is_copied_once_it_is_over_and_asked_for_whole(tmp_path: Path) -> None:
    directory = write_project(tmp_path / "p", steps=steps(1.0))
    with (directory / "tasks" / "echo.toml").open("a") as task:
        task.write("[echo]\nchunk_delay_s = 0.2\n")
    async with told(directory, incumbent="echo-echo") as story:
        body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "stream": True}
        async with (
            aiohttp.ClientSession(story.up.address, headers=story.up.headers()) as http,
            http.post(CHAT, json=body) as response,
        ):
            seen_early, pieces = 0, b""
            async for piece in response.content.iter_any():
                pieces += piece
                if b"[DONE]" not in pieces:
                    seen_early += len(story.new.asked)
        assert seen_early == 0
        assert pieces.endswith(b"data: [DONE]\n\n")
        copy = await story.copy_of(response.headers["x-changeover-request-id"])
        assert not copy.stream
        assert not story.new.asked[0].get("stream")
        assert "stream_options" not in story.new.asked[0]


async def test_a_hanging_candidate_delays_nobody_and_is_recorded_as_failing(tmp_path: Path) -> None:
    async with told(write_project(tmp_path / "p", steps=steps(1.0, at_once=2), timeout_s=2)) as story:
        story.new.may_answer.clear()
        began = time.monotonic()
        ids = [(await story.ask())[0] for _ in range(6)]
        assert time.monotonic() - began < QUICK_S
        await story.asked(2)
        assert story.under_way == 2
        skipped = 'changeover_shadow_skipped_total{reason="at_once",task="echo"}'
        assert await story.metric(skipped) == 4
        for id in ids[:2]:
            copy = await story.copy_of(id)
            assert (copy.status, copy.error, copy.error_source) == (504, "model_failed", "model")
            assert copy.failed_variants == (story.rollout.candidate,)
        assert len(story.rows()) == 8
        assert story.under_way == 0


async def test_a_failing_candidate_is_recorded_and_opens_no_breaker(tmp_path: Path) -> None:
    async with told(write_project(tmp_path / "p", steps=steps(1.0))) as story:
        story.new.status = 500
        ids = [(await story.ask())[0] for _ in range(8)]
        for id in ids:
            copy = await story.copy_of(id)
            assert (copy.status, copy.variant) == (502, story.rollout.candidate)
        assert len(story.new.asked) == 8, "each was asked"
        assert await story.metric('changeover_breaker_open{deployment="new"}') == 0
        story.new.status = 400
        copy = await story.copy_of((await story.ask())[0])
        assert copy.status == 400
        assert copy.failed_variants == (story.rollout.candidate,), "the incumbent had answered it"


async def test_the_share_is_drawn_by_the_request_and_charged_to_nobody(tmp_path: Path) -> None:
    async with told(write_project(tmp_path / "p", steps=steps(0.5))) as story:
        ids = [(await story.ask())[0] for _ in range(30)]
        route = story.up.system.snapshot.tasks["echo"].route
        wanted = {id for id in ids if drawn(route, id)}
        assert 0 < len(wanted) < 30
        for id in wanted:
            await story.copy_of(id)
        assert {name for name in story.rows() if name.startswith("shadow")} == {f"shadow of {id}" for id in wanted}
        labels = 'deployment="new",gen_ai_operation_name="chat",internal="true",outcome="ok",side="shadow"'
        assert await story.metric(f'changeover_requests_total{{{labels},task="echo",team=""}}') == len(wanted)
        tokens = 'changeover_tokens_total{deployment="new",gen_ai_token_type="input",internal="false"'
        assert await story.metric(f'{tokens},task="echo",team=""}}') == 0


async def test_every_worker_copies_what_it_answered_and_no_more(tmp_path: Path) -> None:
    async with told(write_project(tmp_path / "p", steps=steps(1.0)), workers=2) as story:
        ids = [(await story.ask())[0] for _ in range(8)]
        for id in ids:
            await story.copy_of(id)
        assert len(story.new.asked) == 8


async def test_nothing_is_copied_while_the_gateway_is_half_full(tmp_path: Path) -> None:
    gateway = "ready_wait_s = 5\nmax_in_flight = 2"
    directory = write_project(tmp_path / "p", steps=steps(1.0), gateway=gateway)
    with (directory / "tasks" / "echo.toml").open("a") as task:
        task.write("[echo]\nchunk_delay_s = 0.5\n")
    async with told(directory, incumbent="echo-echo") as story:
        slow = asyncio.create_task(story.ask("a b c d", stream=True))
        await asyncio.sleep(0.3)
        await story.ask("quick")
        skipped = 'changeover_shadow_skipped_total{reason="gateway_busy",task="echo"}'
        assert await story.metric(skipped) == 1
        id, _ = await slow
        await story.copy_of(id)
        assert len(story.new.asked) == 1


async def test_what_was_no_whole_answer_to_an_application_is_not_copied(tmp_path: Path) -> None:
    async with told(write_project(tmp_path / "p", steps=steps(1.0))) as story:
        up = story.up
        messages = [{"role": "user", "content": "hi"}]
        incumbent = up.system.snapshot.tasks["echo"].route.incumbent
        async with aiohttp.ClientSession(up.address, headers=up.headers(up.operator)) as http:
            for path, body in (
                (CHAT, {"model": f"echo@{incumbent}", "messages": messages}),
                (CHAT, {"model": "echo", "messages": []}),
                ("/v1/completions", {"model": "echo", "prompt": "hi"}),
                ("/v1/embeddings", {"model": "echo", "input": "hi"}),
            ):
                async with http.post(path, json=body) as response:
                    assert response.status in (200, 400)
        id, _ = await story.ask()
        await story.copy_of(id)
        assert len(story.new.asked) == 1


async def test_an_abort_ends_the_copies_that_are_under_way(tmp_path: Path) -> None:
    async with told(write_project(tmp_path / "p", steps=steps(1.0))) as story:
        story.new.may_answer.clear()
        await story.ask()
        await story.asked(1)
        with story.up.installation.store.write() as connection:
            abort(connection, story.rollout, By(actor="test", reason="no", now=story.up.installation.clock.now()))
        async with asyncio.timeout(QUICK_S):
            while story.under_way or not story.new.left:
                await asyncio.sleep(0.02)
        await story.ask()
        assert len(story.new.asked) == 1, "nothing more is copied"
        assert await story.metric('changeover_shadow_skipped_total{reason="stopped",task="echo"}') == 1


async def test_a_gateway_that_stops_waits_for_no_copy(tmp_path: Path) -> None:
    async with candidate() as new:
        async with running(open_written(write_project(tmp_path / "p", steps=steps(1.0)))) as up:
            await up.ready("echo")
            story = Story(up, new, await begun(up, new))
            new.may_answer.clear()
            await story.ask()
            await story.asked(1)
            began = time.monotonic()
        assert time.monotonic() - began < QUICK_S


async def test_a_candidate_that_misses_the_shape_that_was_asked_for_breaks_the_contract(tmp_path: Path) -> None:
    async with told(write_project(tmp_path / "p", steps=steps(1.0))) as story:
        id, said = await story.ask(response_format={"type": "json_object"})
        assert isinstance(json.loads(json.loads(said)["choices"][0]["message"]["content"]), dict)
        copy = await story.copy_of(id)
        assert (copy.status, copy.error, copy.violation) == (
            502,
            "structured_output_failed",
            "structured_output_failed",
        )
        assert len(story.new.asked) == 2, "asked once more, as for a caller"


@pytest.mark.parametrize("record", ["full", "metadata", "off"])
async def test_answers_are_looked_at_while_a_rollout_needs_it_and_only_what_may_be_kept_is(
    tmp_path: Path, record: str
) -> None:
    checks = '{ name = "language", options = { language = "ja" } }'
    directory = write_project(tmp_path / "p", steps=steps(1.0, checks=checks), record=record)
    async with told(directory) as story:
        story.new.reply = "I'm sorry, but I can't help with that. a candidate's secret"
        refused, _ = await story.ask("これは秘密の文章です。")
        assert (await story.copy_of(refused)).violation == "refusal"
        story.new.reply = ""
        empty, _ = await story.ask("Say this in English please.", stream=True)
        assert (await story.copy_of(empty)).violation == "empty"
        rows = story.rows()
        assert (rows[refused].violation, rows[empty].violation) == (None, "language")
        assert all((row.request is None) == (record != "full") for row in rows.values())
    if record != "full":
        database = b"".join(file.read_bytes() for file in (directory / ".changeover").glob("changeover.db*"))
        assert "秘密".encode() not in database
        assert b"candidate's secret" not in database


async def test_without_a_rollout_no_answer_is_looked_at(tmp_path: Path) -> None:
    checks = '{ name = "language", options = { language = "ja" } }'
    async with running(open_written(write_project(tmp_path / "p", steps=steps(1.0, checks=checks)))) as up:
        await up.ready("echo")
        body = {"model": "echo", "messages": [{"role": "user", "content": "Say this in English please."}]}
        async with aiohttp.ClientSession(up.address, headers=up.headers()) as http, http.post(CHAT, json=body):
            pass
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with up.installation.store.read() as connection:
                    found = recent_exchanges(connection, "echo")
                if found:
                    break
                await asyncio.sleep(0.05)
        assert found[0].violation is None
