"""The Python client against a running gateway."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.support.processes import Up

from changeover.client import (
    AsyncClient,
    Client,
    File,
    JobCancelled,
    Piece,
    Progress,
    Result,
    ToolFailed,
    Unreachable,
)
from changeover.core.errors import ConfigError, RequestError
from changeover.store.engine import Store

MEMO = "The lift in house B is out of service from 11 to 14 March. Ask Ms Ferro for the freight lift."


@pytest.fixture
def client(tools_up: Up) -> Iterator[Client]:
    with Client(tools_up.address, tools_up.key) as made:
        yield made


@pytest.fixture
def memo(tmp_path: Path) -> Path:
    file = tmp_path / "memo.txt"
    file.write_text(MEMO)
    return file


def test_the_tools_of_a_key_say_what_they_take_and_give(client: Client) -> None:
    assert [tool.name for tool in client.tools()] == ["document-summary", "headline", "slow-reader", "talk", "waits"]
    tool = client.tool("headline")
    assert tool.inputs["required"] == ["text"]
    assert tool.output["required"] == ["heading"]
    assert tool.example is not None
    assert tool.tasks == ["headline.answer"]
    talk = client.tool("talk").chat
    assert talk is not None
    assert (talk.history, talk.message) == ("history", "message")


def test_a_file_is_sent_as_a_path_with_a_name_or_open_and_in_an_example(client: Client, memo: Path) -> None:
    example = client.tool("document-summary").example
    assert example is not None
    with memo.open("rb") as opened:
        results = [
            client.run("document-summary", document=given, sentences=2)
            for given in (memo, File("memo.txt", MEMO.encode()), opened)
        ]
    for result in results:
        assert "freight lift" in result.text
        assert result.value["pages"] == 1
        assert any(each.supported and "Ferro" in each.quote for each in result.citations)
        assert result.answered_by[0]["deployment"] == "echo"
    assert "Harbour" in client.run("document-summary", **example).text


def test_lists_numbers_and_conversations_reach_a_tool_as_they_are(client: Client) -> None:
    assert client.run("waits", words=["a", "b, c"]).value == {"seconds": 0, "words": ["a", "b, c"]}
    history = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi"}]
    assert client.run("talk", history=history, message="again").value == {"reply": "again", "turns": 2}


def test_a_streamed_run_tells_its_steps_in_order_and_ends_with_the_result(client: Client, memo: Path) -> None:
    events = list(client.stream("document-summary", document=memo))
    steps = [event.number for event in events if isinstance(event, Progress)]
    assert steps == sorted(steps)
    assert steps[-1] == 6
    assert all(isinstance(event, Progress | Piece) for event in events[:-1])
    assert isinstance(events[-1], Result)


def test_the_pieces_of_a_streamed_answer_are_its_text(client: Client) -> None:
    events = list(client.stream("talk", message="one two three four"))
    pieces = [event.piece for event in events if isinstance(event, Piece)]
    assert len(pieces) > 1
    assert "".join(pieces) == "one two three four"


def test_a_job_is_waited_for_listed_and_deleted(client: Client, memo: Path) -> None:
    job = client.submit("document-summary", document=memo)
    assert job.id in [each.id for each in client.jobs()]
    result = client.wait(job.id)
    assert "freight lift" in result.text
    assert client.job(job.id).state == "done"
    client.cancel(job.id)
    with pytest.raises(ToolFailed) as gone:
        client.job(job.id)
    assert gone.value.status == 404


def test_a_job_that_is_cancelled_has_no_result_and_says_so(client: Client) -> None:
    job = client.submit("waits", seconds=60)
    told: list[Progress] = []

    def leave(progress: Progress) -> None:
        told.append(progress)
        client.cancel(job.id)

    with pytest.raises(JobCancelled):
        client.wait(job.id, on_progress=leave)
    assert (told[0].step, told[0].steps) == ("slept", 2)
    assert client.job(job.id).state == "cancelled"


def test_what_goes_wrong_comes_with_the_servers_sentence_code_and_status(client: Client, tools_up: Up) -> None:
    with pytest.raises(ToolFailed, match="Did you mean `headline`") as unknown:
        client.run("headlin", text="x")
    assert (unknown.value.status, unknown.value.code, unknown.value.retryable) == (404, "unknown_tool", False)
    with pytest.raises(ToolFailed, match="too large; at most 20") as wrong:
        list(client.stream("headline", text="x", words=50))
    assert (wrong.value.status, wrong.value.code) == (400, "invalid_request")
    with pytest.raises(ToolFailed, match="damaged") as broken:
        client.wait(client.submit("document-summary", document=File("a.pdf", b"%PDF-1.4 no more")).id)
    assert (broken.value.status, broken.value.code, broken.value.retryable) == (422, "document_refused", False)
    with Client(tools_up.address, "co-nobody") as nobody, pytest.raises(ToolFailed) as stranger:
        nobody.tools()
    assert stranger.value.status == 401


def test_what_cannot_be_sent_is_refused_with_the_inputs_name(client: Client) -> None:
    with pytest.raises(RequestError, match=r"`a\.pdf`: `content_base64`"):
        client.run("document-summary", document={"name": "a.pdf", "content_base64": "no base64!"})
    with pytest.raises(RequestError, match="cannot be sent"):
        client.run("headline", text=object())


def test_a_gateway_that_is_not_there_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Client(address, "key") as nobody, pytest.raises(Unreachable, match=f"No gateway answers at {address}"):
            nobody.tools()


def test_address_and_key_come_from_the_environment(tools_up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="CHANGEOVER_URL"):
        Client()
    monkeypatch.setenv("CHANGEOVER_URL", f"{tools_up.address}/v1/")
    with pytest.raises(ConfigError, match="CHANGEOVER_KEY"):
        Client()
    monkeypatch.setenv("CHANGEOVER_KEY", tools_up.key)
    with Client() as client:
        assert client.tools()


def test_both_clients_have_the_same_names_and_arguments() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(each).parameters) for name, each in found if not name.startswith("_")}

    awaited = public(AsyncClient)
    assert public(Client) == {name: given for name, given in awaited.items() if name != "with_key"}


async def test_the_awaited_client_runs_streams_and_answers_for_several_keys(tools_up: Up, memo: Path) -> None:
    async with AsyncClient(tools_up.address, "co-nobody") as nobody:
        client = nobody.with_key(tools_up.key)
        result, said = await asyncio.gather(
            client.run("document-summary", document=memo), client.run("talk", message="hi")
        )
        assert "freight lift" in result.text
        assert said.text == "hi"
        assert [type(event) async for event in client.stream("waits")][-1] is Result
        with pytest.raises(ToolFailed):
            await nobody.tools()


@asynccontextmanager
async def cutting(address: str) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """A relay to a gateway that cuts the first connection on which a job is watched, after a few bytes."""
    host, port = urlsplit(address).hostname, urlsplit(address).port
    cut: list[bytes] = []

    async def carry(source: asyncio.StreamReader, to: asyncio.StreamWriter, watched: list[bool]) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                if b"/events HTTP" in data and not cut:
                    watched.append(True)
                elif watched and b"event-stream" in data and not cut:
                    cut.append(data)
                    return
                to.write(data)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, port)
        watched: list[bool] = []
        ways = [
            asyncio.create_task(carry(reader, up_writer, watched)),
            asyncio.create_task(carry(up_reader, writer, watched)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)
        for each in (writer, up_writer):
            each.close()
            with suppress(ConnectionError):
                await each.wait_closed()

    relays: set[asyncio.Task[None]] = set()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relays.add(asyncio.create_task(relay(reader, writer)))

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", cut
    await asyncio.gather(*relays)  # whoever called has closed; what is left open here would be another test's


async def test_a_job_is_waited_for_over_a_connection_that_breaks(tools_up: Up) -> None:
    async with cutting(tools_up.address) as (address, cut), AsyncClient(address, tools_up.key) as client:
        job = await client.submit("waits", seconds=0.5)
        result = await client.wait(job.id)
        assert result.text == "waited for 0.5"
        assert cut


async def test_a_job_is_waited_for_while_the_gateway_has_no_store(tools_up: Up) -> None:
    async with AsyncClient(tools_up.address, tools_up.key) as client:
        with Client(tools_up.address, tools_up.key) as blocking, tools_up.opened() as installation:
            job = await client.submit("waits")
            await client.wait(job.id)
            rename(installation.store, "tool_jobs", "elsewhere")
            waiting = [
                asyncio.create_task(client.wait(job.id)),
                asyncio.create_task(asyncio.to_thread(blocking.wait, job.id)),
            ]
            with pytest.raises(ToolFailed, match="store"):
                await client.job(job.id)
            done, _ = await asyncio.wait(waiting, timeout=0.3)
            rename(installation.store, "elsewhere", "tool_jobs")
            assert not done
            assert [(await each).text for each in waiting] == ["waited for 0"] * 2


def rename(store: Store, table: str, to: str) -> None:
    with store.append() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {to}")


def test_a_key_that_cannot_be_one_is_refused_without_being_repeated(tools_up: Up) -> None:
    for key in ("co_secret\nx", "co_secret\x00", "co_sécret", "co_secret co_other"):
        with pytest.raises(ConfigError) as refused:
            Client(tools_up.address, key)
        assert "secret" not in refused.value.message
    with Client(tools_up.address, f"{tools_up.key}\r\n") as client:
        assert client.tools()
    with pytest.raises(ConfigError, match="no address"):
        Client("http://[::1", "co_a")
