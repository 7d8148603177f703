"""Tools for agents: the SDK's own client against `changeover mcp`, over standard input and output and over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from tests.support.processes import COMMAND, Up, until

from changeover import client as ours
from changeover.cli.main import run_command
from changeover.core.errors import DocumentError
from changeover.gateway.keys import issue_key
from changeover.tools.mcp.files import Files
from changeover.tools.mcp.http import offered
from changeover.tools.mcp.server import Offer

MEMO = "The lift in house B is out of service from 11 to 14 March. Ask Ms Ferro for the freight lift."
NAMES = ["document-summary", "headline", "slow-reader", "talk", "waits"]


@pytest.fixture(scope="module")
def http_address(tools_up: Up) -> Iterator[str]:
    """`changeover mcp --http` beside the gateway, a process of its own."""
    command = (*COMMAND, "mcp", "--http", "127.0.0.1:0", "--json")
    with subprocess.Popen(command, cwd=tools_up.project, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["address"]
        server.terminate()
        assert server.wait(20) == 0


@asynccontextmanager
async def over_http(address: str, key: str, mode: str = "auto", **headers: str) -> AsyncGenerator[Client]:
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {key}", **headers}, timeout=30) as http,
        Client(streamable_http_client(address, http_client=http), mode=mode) as client,
    ):
        yield client


@asynccontextmanager
async def over_stdio(up: Up, *options: str) -> AsyncGenerator[Client]:
    command, *arguments = (*COMMAND, "mcp", "--key", up.key, *options)
    server = StdioServerParameters(command=command, args=arguments, cwd=up.project)
    async with Client(server) as client:
        yield client


def file_of(text: str, name: str = "memo.txt") -> dict[str, str]:
    return {"name": name, "content_base64": base64.b64encode(text.encode()).decode()}


def text_of(result: Any) -> str:
    return "\n".join(part.text for part in result.content)


async def test_an_agent_that_starts_it_lists_and_calls_the_tools(tools_up: Up, tmp_path: Path) -> None:
    (tmp_path / "memo.txt").write_text(MEMO)
    async with over_stdio(tools_up, "--files", str(tmp_path)) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert sorted(tools) == NAMES
        summary = tools["document-summary"]
        assert summary.title == "Document summary"
        assert summary.annotations is not None
        assert summary.annotations.read_only_hint is True
        assert summary.output_schema is not None
        assert summary.output_schema["required"] == ["summary", "pages", "parts"]
        assert summary.input_schema["required"] == ["document"]
        by_content = await client.call_tool("document-summary", {"document": file_of(MEMO)})
        by_path = await client.call_tool("document-summary", {"document": {"path": "memo.txt"}})
        for result in (by_content, by_path):
            assert not result.is_error, text_of(result)
            assert result.structured_content["pages"] == 1
            assert "Sources:\n[1] section 1 “" in text_of(result)
        outside = await client.call_tool("document-summary", {"document": {"path": "../secret.txt"}})
        assert outside.is_error
        assert "no file in the folder that is allowed" in text_of(outside)


async def test_what_goes_wrong_is_said_in_the_gateways_words_and_the_session_goes_on(
    tools_up: Up, http_address: str
) -> None:
    async with over_http(http_address, tools_up.key, "legacy") as client:
        for name, arguments, said in (
            ("headlin", {"text": "x"}, "Did you mean `headline`?"),
            ("headline", {}, "`text`"),
            ("headline", {"text": "x", "words": 50}, "at most 20"),
            ("document-summary", {"document": file_of("%PDF-1.4 no more", "a.pdf")}, "is damaged"),
            ("document-summary", {"document": {"path": "memo.txt"}}, "No path is followed here"),
            ("document-summary", {"document": {"name": "a.txt", "content_base64": "no base64!"}}, "no base64"),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error
            assert said in text_of(result)
        assert text_of(await client.call_tool("talk", {"message": "still here"})) == "still here"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_progress_rises_to_the_end_over_http_in_both_generations_of_the_protocol(
    tools_up: Up, http_address: str, tmp_path: Path, mode: str
) -> None:
    told: list[tuple[float, float | None, str | None]] = []
    heard = tmp_path / "heard"

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))
        heard.touch()

    async with over_http(http_address, tools_up.key, mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == NAMES
        # A job's progress is written every half second, so that of a short one nobody need hear any: it waits for that.
        result = await client.call_tool("waits", {"until": str(heard), "words": ["a"]}, progress_callback=hear)
        assert result.structured_content == {"seconds": 0, "words": ["a"]}
    assert [progress for progress, _, _ in told] == sorted({progress for progress, _, _ in told})
    assert {total for _, total, _ in told} == {2}
    assert told[0][2] == "slept · step 1 of 2"


async def test_a_call_that_is_cancelled_ends_its_run(tools_up: Up, http_address: str) -> None:
    for session in (over_stdio(tools_up), over_http(http_address, tools_up.key, "legacy")):
        async with session as client, anyio.create_task_group() as calls:
            calls.start_soon(client.call_tool, "waits", {"seconds": 60})
            await asyncio.to_thread(until, tools_up.functions)
            calls.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.to_thread(until, lambda: not tools_up.functions())


async def test_a_run_whose_connection_breaks_is_picked_up_by_the_same_call(tools_up: Up, tmp_path: Path) -> None:
    over = tmp_path / "over"
    async with ours.AsyncClient(tools_up.address, tools_up.key) as gateway:
        before = {job.id for job in await gateway.jobs()}
        offer = Offer(lambda _: ("", gateway), Files(), connections_break=True)
        async with Client(offer.server(), mode="auto") as agent:
            with anyio.move_on_after(30) as call:
                async with anyio.create_task_group() as calls:
                    calls.start_soon(agent.call_tool, "waits", {"until": str(over)})
                    await asyncio.to_thread(until, tools_up.functions)
                    calls.cancel_scope.cancel()
            assert not call.cancelled_caught
            [begun] = {job.id for job in await gateway.jobs()} - before
            over.touch()
            result = await agent.call_tool("waits", {"until": str(over)})
            assert text_of(result) == "waited for 0"
        assert begun not in {job.id for job in await gateway.jobs()}
        assert {job.id for job in await gateway.jobs()} == before


async def test_a_run_that_nobody_asks_for_again_is_cancelled(tools_up: Up) -> None:
    async with ours.AsyncClient(tools_up.address, tools_up.key) as gateway:
        offer = Offer(lambda _: ("", gateway), Files(), connections_break=True, linger_s=0.0)
        async with Client(offer.server(), mode="auto") as agent, anyio.create_task_group() as calls:
            calls.start_soon(agent.call_tool, "waits", {"seconds": 60})
            await asyncio.to_thread(until, tools_up.functions)
            calls.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.to_thread(until, lambda: not tools_up.functions())


async def test_two_runs_that_were_asked_for_in_the_same_words_and_left_are_both_cancelled() -> None:
    cancelled: list[str] = []

    class Gateway:
        async def cancel(self, job: str) -> None:
            cancelled.append(job)

    gateway = cast("ours.AsyncClient", Gateway())
    offer = Offer(lambda _: ("", gateway), Files(), connections_break=True, linger_s=0.0)
    for job in ("job_1", "job_2"):
        offer._left["call"] = (job, asyncio.create_task(offer._leave("call", gateway, job)))
    ending = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await asyncio.wait(ending, timeout=5)
    assert sorted(cancelled) == ["job_1", "job_2"]
    assert not offer._left


def ask(address: str, **headers: str | bytes) -> httpx2.Response:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    return httpx2.post(address, json=body, headers={"accept": "application/json, text/event-stream", **headers})


def test_nobody_gets_in_without_a_key_of_this_installation(tools_up: Up, http_address: str) -> None:
    no_key = "Bearer cl\u00e9".encode("latin-1")
    for headers in (
        {},
        {"authorization": "Basic abc"},
        {"authorization": "Bearer co-nobody"},
        {"authorization": no_key},
    ):
        refused = ask(http_address, **headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert "key" in refused.json()["error"]["message"]
    elsewhere = ask(http_address.removesuffix("mcp"), authorization=f"Bearer {tools_up.key}")
    assert elsewhere.status_code == 404


def test_a_page_that_was_led_here_by_its_name_or_from_elsewhere_is_refused(tools_up: Up, http_address: str) -> None:
    key = f"Bearer {tools_up.key}"
    assert ask(http_address, authorization=key, host="agents.example.org").status_code == 421
    assert ask(http_address, authorization=key, origin="https://agents.example.org").status_code == 403


async def test_a_key_lists_its_own_tools_and_a_session_answers_to_its_own_key_alone(
    tools_up: Up, http_address: str
) -> None:
    with tools_up.opened() as installation, installation.store.write() as connection:
        now, tasks = installation.clock.now(), ["headline.answer"]
        reader = issue_key(connection, name="agent", role="application", now=now, tasks=tasks)

    def known() -> bool:
        return ask(http_address, authorization=f"Bearer {reader}").status_code != 401

    await asyncio.to_thread(until, known)
    async with over_http(http_address, reader) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "headline" in names
        assert "document-summary" not in names
        refused = await client.call_tool("document-summary", {"document": file_of(MEMO)})
        assert refused.is_error
        assert "No tool named `document-summary`" in text_of(refused)
    headers = {"authorization": f"Bearer {tools_up.key}", "accept": "application/json, text/event-stream"}
    opening = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    session = httpx2.post(http_address, json=opening, headers=headers).headers["mcp-session-id"]
    stolen = ask(http_address, authorization=f"Bearer {reader}", **{"mcp-session-id": session})
    assert stolen.status_code == 404


async def test_a_gateway_that_is_gone_is_said_and_is_not_taken_for_a_wrong_key() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with (
            offered(address, (), ()) as endpoint,
            httpx2.AsyncClient(transport=httpx2.ASGITransport(endpoint), base_url="http://127.0.0.1") as http,
        ):
            refused = await http.post("/mcp", headers={"authorization": "Bearer co-somebody"}, json={})
    assert refused.status_code == 503
    assert "No gateway answers" in refused.json()["error"]["message"]


@contextmanager
def refused(said: str) -> Iterator[None]:
    with pytest.raises(DocumentError, match=said):
        yield


def test_paths_lead_nowhere_but_into_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "a.txt").write_text("a")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    files = Files(folder)
    assert files.read({"one": {"path": "a.txt"}, "many": [{"path": "a.txt"}], "other": {"path": 1, "x": 2}}) == {
        "one": ours.File("a.txt", b"a"),
        "many": [ours.File("a.txt", b"a")],
        "other": {"path": 1, "x": 2},
    }
    for path in ("../secret.txt", "link.txt", str(tmp_path / "secret.txt"), "", "nothing.txt", "a\0b"):
        with refused("."):
            files.read({"document": {"path": path}})
    with refused("No path is followed here"):
        Files().read({"document": {"path": "a.txt"}})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--http", "8102"), "write HOST:PORT"),
        (("--http", "127.0.0.1:0", "--files", "."), "would open a folder"),
        (("--http", "127.0.0.1:0", "--key", "k"), "a key of their own"),
        (("--host", "x"), "are for `--http`"),
        (("--files", "nowhere"), "no such folder"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    tools_up: Up,
    arguments: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tools_up.project)
    assert run_command(["mcp", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_an_agents_server_ends_when_the_agent_does(tools_up: Up) -> None:
    ended = subprocess.run(
        (*COMMAND, "mcp"), cwd=tools_up.project, input="", capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "")
