"""Tools over HTTP: real sockets, real readers, the echo engine behind the tasks."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from tests.support.projects import Running, open_written, running, write_project
from tests.support.tool_calls import Caller, calling, write_tool

from changeover.app.apply import apply
from changeover.app.installation import read_again
from changeover.gateway.keys import issue_key, make_team
from changeover.gateway.limits import parse_limit
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import recent_exchanges

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTES = b"# Minutes\n\nThe ferry was cancelled at 7:40."
AS_JSON = {"name": "C:\\papers\\minutes.md", "content_base64": base64.b64encode(NOTES).decode()}
PLACES = 3
SETTINGS = f"""ready_wait_s = 5
max_body_mib = 0.25
[jobs]
at_once = {PLACES}
max_upload_mib = 0.75
"""


@dataclass
class Stage:
    """The system, and callers with different keys."""

    up: Running
    app: Caller
    callers: dict[str, Caller]

    def exchanges(self, task: str) -> list[Exchange]:
        with self.up.installation.store.read() as connection:
            return list(recent_exchanges(connection, task))

    async def health(self) -> Any:
        return (await self.callers["operator"].ask("GET", "/healthz"))[1]

    async def at_rest(self) -> None:
        async with asyncio.timeout(20):
            while (await self.health())["tools_running"]:
                await asyncio.sleep(0.02)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    project = write_project(tmp_path_factory.mktemp("tools") / "p", gateway=SETTINGS)
    write_tool(project)
    write_tool(project, "slow", echo="delay_s = 0.4\nchunk_delay_s = 0.02")
    write_tool(project, "stuck", echo="delay_s = 30.0")
    write_tool(project, "hasty", echo="delay_s = 30.0\n", timeout_s=0.2, more="timeout_s = 1.0")
    write_tool(project, "ours", tables='[access]\nteams = ["desk"]')
    async with running(open_written(project)) as up:
        keys = {"operator": up.operator}
        now = up.installation.clock.now()
        with up.installation.store.write() as connection:
            make_team(connection, "desk", [], now)
            for name, more in {
                "desk": {"team": "desk"},
                "narrow": {"tasks": ["slow.say"]},
                "poor": {"limits": [parse_limit("requests/day=2")]},
            }.items():
                keys[name] = issue_key(connection, name=name, role="application", now=now, **more)
        await up.ready("echo", "echo-slow.say", "echo-stuck.say", "echo-hasty.say", timeout_s=60)
        async with aiohttp.ClientSession(up.address) as http:
            callers = {name: Caller(http, up.headers(key)) for name, key in keys.items()}
            async with asyncio.timeout(20):
                while (await callers["poor"].ask("GET", "/v1/models"))[0] == 401:
                    await asyncio.sleep(0.05)
            yield Stage(up, Caller(http, up.headers()), callers)


async def test_a_tool_runs_and_says_who_answered_with_how_many_tokens(stage: Stage) -> None:
    status, said = await stage.app.run(text="one\ntwo words")
    assert status == 200, said
    assert said["value"] == {"text": "one two words", "lines": 2, "notes": "", "papers": 0}
    assert (said["object"], said["tool"], said["text"]) == ("tool.result", "say", "one two words")
    [who] = said["answered_by"]
    assert (who["task"], who["deployment"], who["calls"]) == ("say.say", "echo", 3)
    assert who["revision"] == stage.up.system.snapshot.tasks["say.say"].route.revision
    assert who["prompt_tokens"] > who["completion_tokens"] > 0


async def test_what_a_tool_asks_is_recorded_as_the_keys_own_under_the_run(stage: Stage) -> None:
    _, said = await stage.app.run(text="this is recorded")
    async with asyncio.timeout(10):
        while not (found := [row for row in stage.exchanges("say.say") if "this is recorded" in (row.request or "")]):
            await asyncio.sleep(0.05)
    asked = json.loads(found[0].request or "")
    assert asked["user"] == said["id"]
    assert (found[0].status, found[0].endpoint, found[0].internal) == (200, "chat", False)


async def test_files_come_as_a_form_or_as_json_and_keep_the_last_part_of_their_name(stage: Stage) -> None:
    form = aiohttp.FormData()
    form.add_field("text", "one")
    form.add_field("times", "2")
    form.add_field("notes", NOTES, filename="../../etc/minutes.md", content_type="text/markdown")
    for number in range(3):
        form.add_field("papers", b"paper", filename=f"{number}.txt")
    status, said = await stage.app.ask("POST", "/v1/tools/say", data=form)
    assert status == 200, said
    assert said["value"]["papers"] == 3
    assert "7:40" in said["value"]["notes"]
    status, again = await stage.app.run(text="one", notes=AS_JSON)
    assert status == 200, again
    assert again["value"]["notes"] == said["value"]["notes"]


async def test_the_list_shows_schemas_and_each_tool_an_example_that_can_be_sent(stage: Stage) -> None:
    status, listed = await stage.app.ask("GET", "/v1/tools")
    assert status == 200
    assert [tool["name"] for tool in listed["data"]] == ["hasty", "say", "slow", "stuck"]
    _, tool = await stage.app.ask("GET", "/v1/tools/say")
    assert tool["inputs"]["required"] == ["text"]
    assert tool["output"]["properties"]["lines"] == {"type": "integer"}
    assert (await stage.app.run(**tool["example"]))[0] == 200


async def test_a_stream_tells_how_far_it_is_and_ends_with_the_result(stage: Stage) -> None:
    body = {"inputs": {"text": "one\ntwo"}}
    events = await stage.app.events("POST", "/v1/tools/slow?as=stream", json=body)
    names = [name for name, _ in events]
    assert names[0] == "progress"
    assert names[-1] == "result"
    assert "".join(value["piece"] for name, value in events if name == "text") == "one two"
    assert {value["step"] for name, value in events if name == "progress"} >= {"said", "whole"}
    assert events[-1][1]["value"]["text"] == "one two"


@pytest.mark.parametrize(
    ("query", "inputs", "said"),
    [
        ("", {}, "`text` is missing"),
        ("?as=stream", {"text": "x", "txet": "y"}, "no input `txet`. Did you mean `text`?"),
        ("?as=job", {"text": "x", "times": 10}, "at most 9"),
        ("", {"text": "x", "notes": {"name": "a.md", "content_base64": "!"}}, "no base64"),
        ("", {"text": "x", "notes": "a.md"}, "is not of type `document`"),
        ("?as=strem", {"text": "x"}, "Did you mean `stream`?"),
        ("?as=job&as=job", {"text": "x"}, "`?as=job`"),
        ("?how=fast", {"text": "x"}, "`?how=`: unknown"),
    ],
)
async def test_what_is_wrong_is_said_before_anything_begins(
    stage: Stage, query: str, inputs: dict[str, Any], said: str
) -> None:
    status, answer = await stage.app.run(query=query, **inputs)
    assert status == 400, answer
    assert said in answer["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("application/json", b"{", "not JSON"),
        ("application/json", b"[]", "must be a JSON object"),
        ("application/json", b'{"inputs": []}', "`inputs` is missing"),
        ("application/json", b'{"inputs": {"text": "x"}, "input": 1}', "`input`: unknown field"),
        ("text/plain", b"hello", "`content-type: text/plain` is not taken"),
        ("multipart/form-data", b"hello", "names no `boundary`"),
        ("multipart/form-data; boundary=x", b"hello", "The form is broken"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nx', "broken"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Type: text/plain\r\n\r\nx\r\n--x--\r\n", "has no name"),
    ],
)
async def test_a_body_that_holds_no_inputs_gets_one_clear_error(
    stage: Stage, kind: str, body: bytes, said: str
) -> None:
    status, answer = await stage.app.ask("POST", "/v1/tools/say", data=body, headers={"content-type": kind})
    assert status == 400, answer
    assert said in answer["error"]["message"]


async def test_a_file_that_cannot_be_read_is_refused_with_its_own_status(stage: Stage) -> None:
    pdf = {"name": "a.pdf", "content_base64": base64.b64encode(b"%PDF-1.7 and then nothing").decode()}
    for query in ("", "?as=stream"):
        async with stage.app.http.post(
            f"/v1/tools/say{query}", json={"inputs": {"text": "x", "notes": pdf}}, headers=stage.app.headers
        ) as response:
            said = await response.text()
            assert "document_refused" in said
            assert (response.status, "event: error" in said) == ((422, False) if not query else (200, True))


async def test_who_may_not_use_a_tool_gets_the_words_for_one_that_does_not_exist(stage: Stage) -> None:
    for method in ("GET", "POST"):
        said: list[str] = []
        for name in ("ours", "none"):
            status, answer = await stage.app.ask(method, f"/v1/tools/{name}", json={"inputs": {"text": "x"}})
            assert (status, answer["error"]["code"]) == (404, "unknown_tool")
            said.append(answer["error"]["message"].replace(name, "NAME"))
        assert said[0] == said[1]
    assert (await stage.callers["desk"].run("ours", text="x"))[0] == 200
    assert (await stage.callers["operator"].run("ours", text="x"))[0] == 200


async def test_a_key_for_some_tasks_sees_the_tools_that_ask_no_others(stage: Stage) -> None:
    _, listed = await stage.callers["narrow"].ask("GET", "/v1/tools")
    assert [tool["name"] for tool in listed["data"]] == ["slow"]
    status, answer = await stage.callers["narrow"].run("say", text="x")
    assert (status, answer["error"]["message"]) == (404, "No tool named `say`. Known: slow.")


async def test_a_run_spends_the_limits_of_its_key(stage: Stage) -> None:
    status, answer = await stage.callers["poor"].run(text="one\ntwo\nthree")
    assert (status, answer["error"]["code"]) == (429, "budget_exhausted")


async def test_a_tool_takes_larger_bodies_than_a_task_and_both_name_their_setting(stage: Stage) -> None:
    def file(size: int) -> dict[str, str]:
        return {"name": "a.txt", "content_base64": base64.b64encode(b"word " * (size // 5)).decode()}

    assert (await stage.app.run(text="x", papers=[file(400 << 10)]))[0] == 200
    status, answer = await stage.app.run(text="x", papers=[file(700 << 10)])
    assert (status, answer["error"]["message"]) == (
        413,
        "The request body is larger than 0.75 MiB. Send less, or raise `jobs.max_upload_mib`.",
    )
    chat = {"model": "echo", "messages": [{"role": "user", "content": "word " * 60_000}]}
    status, answer = await stage.app.ask("POST", "/v1/chat/completions", json=chat)
    assert status == 413
    assert "0.25 MiB" in answer["error"]["message"]
    assert "`gateway.max_body_mib`" in answer["error"]["message"]


async def test_who_has_no_key_may_not_send_the_larger_body(stage: Stage) -> None:
    async with stage.app.http.post("/v1/tools/say", data=b"x" * (300 << 10)) as response:
        assert response.status in (401, 413)
        assert "jobs.max_upload_mib" not in await response.text()


async def test_one_run_too_many_is_told_when_to_come_again(stage: Stage) -> None:
    runs = [asyncio.create_task(stage.app.run("slow", text="one\ntwo")) for _ in range(PLACES)]
    async with asyncio.timeout(10):
        while (await stage.health())["tools_running"] < PLACES:
            await asyncio.sleep(0.02)
    async with stage.app.http.post(
        "/v1/tools/slow", json={"inputs": {"text": "one"}}, headers=stage.app.headers
    ) as response:
        assert response.status == 429
        assert int(response.headers["retry-after"]) >= 1
        assert "?as=job" in (await response.json())["error"]["message"]
    assert [status for status, _ in await asyncio.gather(*runs)] == [200] * PLACES


@pytest.mark.parametrize("query", ["", "?as=stream"])
async def test_a_caller_that_leaves_ends_its_run_and_what_it_asks(stage: Stage, query: str) -> None:
    before = len(stage.exchanges("stuck.say"))
    run = asyncio.create_task(stage.app.events("POST", f"/v1/tools/stuck{query}", json={"inputs": {"text": "one"}}))
    async with asyncio.timeout(10):
        while not stage.up.system.gateway.admission.in_flight:
            await asyncio.sleep(0.02)
    run.cancel()
    await asyncio.wait([run])
    await stage.at_rest()
    async with asyncio.timeout(10):
        while len(rows := stage.exchanges("stuck.say")) == before:
            await asyncio.sleep(0.05)
    assert rows[0].abandoned
    assert stage.up.system.gateway.admission.in_flight == 0


async def test_the_time_of_a_task_and_of_a_tool_holds(stage: Stage) -> None:
    status, answer = await stage.app.run("hasty", text="one")
    assert status == 504
    assert "its 1 s" in answer["error"]["message"]
    async with asyncio.timeout(10):
        while not (rows := stage.exchanges("hasty.say")):
            await asyncio.sleep(0.05)
    assert rows[-1].status == 504
    assert rows[-1].duration_ms < 20_000, "its engine would have answered after 30 s"


async def test_runs_are_counted_by_tool_and_outcome(stage: Stage) -> None:
    assert (await stage.app.run(text="one"))[0] == 200
    async with stage.app.http.get("/metrics", headers=stage.callers["operator"].headers) as response:
        page = await response.text()
    assert 'changeover_tool_run_seconds_count{outcome="ok",tool="say"}' in page
    assert "changeover_tools_in_flight 0.0" in page


async def test_a_folder_that_changed_is_used_as_it_was_until_it_is_applied(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p")
    folder = write_tool(project)
    async with running(open_written(project)) as up, calling(up) as caller:
        await up.ready("echo")
        _, before = await caller.run(text="one")
        declared = folder / "tool.toml"
        declared.write_text(declared.read_text().replace('text = "whole"', 'text = "whole | upper"', 1))
        schema = folder / "output.schema.json"
        schema.write_text(schema.read_text().replace('"text", "lines"', '"text", "lines", "nothing"'))
        status, same = await caller.run(text="one")
        assert (status, same["text"], same["digest"]) == (200, "one", before["digest"])
        schema.write_text(schema.read_text().replace(', "nothing"', ""))
        assert apply(read_again(up.installation), "test").committed
        async with asyncio.timeout(20):
            while (said := (await caller.run(text="one"))[1])["digest"] == before["digest"]:
                await asyncio.sleep(0.05)
        assert said["value"]["text"] == "ONE"


async def test_a_project_without_tools_answers_for_them_and_loads_nothing(tmp_path: Path) -> None:
    async with running(open_written(write_project(tmp_path / "p"))) as up, calling(up) as caller:
        assert "tools" not in (await caller.ask("GET", "/healthz", headers=up.headers(up.operator)))[1]
        assert await caller.ask("GET", "/v1/tools") == (200, {"object": "list", "data": []})
        assert (await caller.run("say", text="one"))[0] == 404
        assert await caller.ask("GET", "/v1/jobs") == (200, {"object": "list", "data": []})
