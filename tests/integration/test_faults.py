"""What an application sees of every fault of a model: one test for each cell of the tables in docs/concepts/faults.md.

All over real sockets: one running system, whose engines were made to fail by their tasks' own files.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import aiohttp
import psutil
import pytest
import pytest_asyncio
from tests.support.faults import Engine, calm, canary, engine, fault_task, recorded, tasks_running
from tests.support.projects import Running, open_written, running, write_project

from changeover.serving.options import Fault

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = "one two three four five six"
HUGE = 4 << 20
THOUGHT = "let me see"
SURFACES: Mapping[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": WORDS}]},
    "/v1/completions": {"prompt": WORDS},
    "/v1/responses": {"input": WORDS},
    "/v1/messages": {"messages": [{"role": "user", "content": WORDS}], "max_tokens": 100},
    "/v1/embeddings": {"input": WORDS},
}
CHAT = "/v1/chat/completions"

Seen = Literal["itself", "the next", "goes on", "ended", "an error event", "429", "502", "503", "504"]
CODES = {"429": "over_capacity", "502": "model_failed", "503": "not_ready", "504": "model_failed"}


@dataclass(frozen=True)
class Row:
    """One fault, and what is seen of it where somebody else can answer and where nobody can."""

    stream: Seen
    whole: Seen
    stream_alone: Seen
    whole_alone: Seen
    task: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Keys of the task's file: how patient it is."""
    echo: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """More options of the engine."""


def before_words(alone: Seen, **task: Any) -> Row:
    return Row("the next", "the next", alone, alone, task)


def harmless(**echo: Any) -> Row:
    return Row("itself", "itself", "itself", "itself", echo=echo)


SLOWLY = {"fault_after": 2, "chunk_delay_s": 0.05}
"""So that the first words are with the caller before it breaks: what arrives together with the break may be lost."""
TABLE: Mapping[str, Row] = {
    "none": harmless(),
    "refuse": before_words("502"),
    "hang": before_words("504", timeout_s=1.5),
    "error_500": before_words("502"),
    "error_503": before_words("503"),
    "error_429": before_words("429"),
    "error_429_bare": before_words("429"),
    "cut_before_first": before_words("502"),
    "cut_after": Row("goes on", "the next", "an error event", "502", echo=SLOWLY),
    "stall_after": Row("goes on", "the next", "an error event", "502", {"between_tokens_s": 0.4}),
    "malformed_event": Row("goes on", "the next", "an error event", "502", echo=SLOWLY),
    "wrong_json": before_words("502"),
    "wrong_shape": before_words("502"),
    "missing_usage": harmless(),
    "leaked_reasoning": harmless(reasoning=THOUGHT, reasoning_format="field"),
    "huge_chunk": harmless(),
    "trickle": harmless(),
    "no_done": Row("ended", "itself", "ended", "itself", echo=SLOWLY),
    "empty_answer": before_words("502"),
}


@dataclass(frozen=True)
class Answer:
    """What the client saw."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def events(self) -> list[Any]:
        lines = [line[6:] for line in self.text.splitlines() if line.startswith("data: ")]
        return [json.loads(line) for line in lines if line != "[DONE]"]

    @property
    def done(self) -> bool:
        marks = ('"type":"response.completed"', '"type":"message_stop"')
        return self.text.endswith("data: [DONE]\n\n") or any(mark in self.text for mark in marks)

    def words(self, key: str = "content") -> str:
        """The text of a chat."""
        if not self.text.startswith("data: "):
            return json.loads(self.text)["choices"][0]["message"].get(key) or ""
        deltas = [choice["delta"] for event in self.events for choice in event.get("choices", ())]
        return "".join(delta.get(key) or "" for delta in deltas)

    @property
    def usage(self) -> dict[str, Any]:
        value = self.events[-1] if self.text.startswith("data: ") else json.loads(self.text)
        return value["usage"]


@dataclass(frozen=True)
class Stage:
    """The running system, and everything to look at it with."""

    up: Running
    http: aiohttp.ClientSession

    async def ask(self, task: str, path: str = CHAT, **fields: Any) -> Answer:
        async with self.http.post(path, json={"model": task, **SURFACES[path], **fields}) as response:
            return Answer(response.status, response.headers, await response.text())

    async def engine(self, fault: str) -> Engine:
        return await engine(self.up, f"echo-alone-{fault}")


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["aiohttp", "wire"])
async def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    """Two tasks for each fault: `alone-…` is answered by the faulty engine, `turn-…` has it as its canary."""
    project = write_project(
        tmp_path_factory.mktemp("faults") / "p",
        gateway=f'ready_wait_s = 5\nmax_in_flight = 16\nbreaker_failures = 1000000\nclient = "{request.param}"',
    )
    for fault, row in TABLE.items():
        fault_task(project, f"alone-{fault}", row.task, {"fault": fault, **row.echo})
        patience = {"first_token_s": 0.5} if fault == "hang" else {}
        fault_task(project, f"turn-{fault}", {**row.task, "timeout_s": 20, **patience})
    async with running(open_written(project)) as up:
        await up.ready("echo", *(f"echo-alone-{fault}" for fault in TABLE), timeout_s=120)
        for fault in TABLE:
            await canary(up, f"turn-{fault}", f"echo-alone-{fault}")
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(up.address, headers=up.headers(), timeout=timeout) as http:
            yield Stage(up, http)


async def test_every_fault_that_can_be_ordered_has_a_row() -> None:
    assert set(TABLE) == set(get_args(Fault))


async def test_the_table_in_the_docs_is_the_one_that_is_proven() -> None:
    page = (Path(__file__).parents[2] / "docs" / "concepts" / "faults.md").read_text()
    said = {
        cells[0].strip("`"): tuple(
            "itself" if cell.startswith("200") else "an error event" if cell == "error event" else cell
            for cell in cells[2:]
        )
        for line in page.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split(" | ")]) == 6 and cells[0] != "`fault`"
    }
    proven = {
        fault: (row.stream, row.whole, row.stream_alone, row.whole_alone)
        for fault, row in TABLE.items()
        if fault != "none"
    }
    assert said == proven


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("alone", [False, True], ids=["turn", "alone"])
@pytest.mark.parametrize("fault", TABLE)
async def test_a_fault_is_seen_as_the_table_says(stage: Stage, fault: str, alone: bool, stream: bool) -> None:
    row = TABLE[fault]
    expected = (row.stream_alone if alone else row.stream) if stream else row.whole_alone if alone else row.whole
    task = f"{'alone' if alone else 'turn'}-{fault}"
    before = await calm(stage.up, f"echo-alone-{fault}", "echo")
    tasks, since = tasks_running(), stage.up.installation.clock.now()

    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer = await stage.ask(task, **options)

    check(answer, expected, fault, stream)
    assert answer.headers["x-changeover-request-id"].startswith("req_")
    # Nothing is left over: no request at an engine or at the door, no task, and one record for the one request.
    after = await calm(stage.up, f"echo-alone-{fault}", "echo")
    assert after["requests"] > before["requests"], "the faulty engine was asked"
    deadline = asyncio.get_running_loop().time() + 10
    while left_over(tasks) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.05)
    assert not left_over(tasks)
    [kept] = await recorded(stage.up, task, since)
    check_record(kept, answer, expected)


def left_over(before: Counter[str]) -> Counter[str]:
    return tasks_running() - before


def check(answer: Answer, expected: Seen, fault: str, stream: bool) -> None:
    if expected in CODES:
        error = json.loads(answer.text)["error"]
        assert (answer.status, error["code"], error["source"]) == (int(expected), CODES[expected], "model")
        assert ("retry-after" in answer.headers) == (expected in ("429", "503"))
        return
    assert answer.status == 200, answer.text
    assert answer.headers["x-changeover-deployment"] == ("echo" if expected == "the next" else f"echo-alone-{fault}")
    if stream:
        # Whoever wrote them, and however it ended: one stream of one answer.
        named = [event for event in answer.events if "choices" in event]
        assert len({event["id"] for event in named if "id" in event}) == 1
        assert len({event["model"] for event in named}) == 1
        assert sum("role" in choice["delta"] for event in named for choice in event["choices"]) == 1
    if expected == "an error event":
        error = answer.events[-1]["error"]
        assert (error["code"], error["source"]) == ("model_failed", "model")
        assert not answer.done
        assert WORDS.startswith(answer.words())
        assert "one" in answer.words()
        return
    assert answer.done == stream
    if fault == "huge_chunk":
        assert answer.words() == (WORDS * (HUGE // len(WORDS) + 1))[:HUGE]
    else:
        assert answer.words() == WORDS
    if fault == "leaked_reasoning":
        assert answer.words("reasoning_content") == THOUGHT
    assert answer.usage["completion_tokens"] > 0
    assert answer.usage.get("estimated", False) is (fault == "missing_usage" or expected == "goes on")
    if stream:
        ends = [choice["finish_reason"] for event in answer.events for choice in event["choices"]]
        assert [end for end in ends if end] == ["stop"]


def check_record(kept: Any, answer: Answer, expected: Seen) -> None:
    assert kept.id == answer.headers["x-changeover-request-id"]
    assert kept.status == (int(expected) if expected in CODES else kept.status)
    assert kept.truncated == (expected == "an error event")
    assert not kept.abandoned
    if expected == "the next":
        assert (kept.attempts, len(kept.failed_variants)) == (2, 1), "the guard sees what the caller did not"
    elif expected == "goes on":
        assert (kept.attempts, kept.failed_variants) == (2, (kept.begun_by,)), "and here who wrote how much"
        assert kept.variant != kept.begun_by
        assert (kept.prompt_tokens, kept.completion_tokens) == tuple(
            answer.usage[name] for name in ("prompt_tokens", "completion_tokens")
        )
        assert kept.usage_estimated
    elif expected == "ended":
        assert (kept.attempts, kept.failed_variants, kept.begun_by) == (1, (kept.variant,), None)
    elif expected == "itself":
        assert (kept.attempts, kept.failed_variants) == (1, ())
        assert kept.usage_estimated == bool(answer.usage.get("estimated"))
        assert kept.completion_tokens == answer.usage["completion_tokens"]


SAMPLED = ("error_500", "cut_after", "malformed_event", "wrong_shape", "missing_usage", "no_done", "trickle")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("fault", SAMPLED)
@pytest.mark.parametrize("path", [path for path in SURFACES if path != CHAT])
async def test_every_surface_fails_alike(stage: Stage, path: str, fault: str, stream: bool) -> None:
    if stream and path == "/v1/embeddings":
        pytest.skip("embeddings are not streamed")
    expected = TABLE[fault].stream if stream else TABLE[fault].whole
    if expected in ("goes on", "ended"):
        expected = "an error event"  # only a chat's text can be gone on with
    await calm(stage.up, f"echo-alone-{fault}", "echo")

    answer = await stage.ask(f"turn-{fault}", path, **({"stream": True} if stream else {}))

    assert answer.status == 200, answer.text
    assert answer.headers["x-changeover-deployment"] == ("echo" if expected == "the next" else f"echo-alone-{fault}")
    if expected == "an error event":
        assert answer.events[-1]["error"]["code"] == "model_failed"
    assert answer.done == (stream and expected != "an error event")
    if not stream and path != "/v1/embeddings":
        assert WORDS in answer.text
    await calm(stage.up, f"echo-alone-{fault}", "echo")


async def test_a_caller_who_leaves_stops_the_engine(stage: Stage) -> None:
    before = await calm(stage.up, "echo-alone-hang", "echo")
    since = stage.up.installation.clock.now()
    with pytest.raises(TimeoutError):
        await stage.http.post(
            CHAT, json={"model": "alone-hang", **SURFACES[CHAT]}, timeout=aiohttp.ClientTimeout(total=0.4)
        )
    after = await calm(stage.up, "echo-alone-hang", "echo")
    assert after["abandoned"] == before["abandoned"] + 1
    [kept] = await recorded(stage.up, "alone-hang", since)
    assert kept.abandoned


async def test_a_caller_who_leaves_a_stream_stops_the_engine(stage: Stage) -> None:
    before = await calm(stage.up, "echo-alone-stall_after", "echo")
    since = stage.up.installation.clock.now()
    body = {"model": "alone-stall_after", **SURFACES[CHAT], "stream": True}
    async with stage.http.post(CHAT, json=body) as response:
        assert (await response.content.readany()).startswith(b"data: ")
        response.close()
    after = await calm(stage.up, "echo-alone-stall_after", "echo")
    assert after["abandoned"] == before["abandoned"] + 1
    [kept] = await recorded(stage.up, "alone-stall_after", since)
    assert kept.abandoned


async def test_a_caller_who_reads_slowly_holds_the_engine_back(stage: Stage) -> None:
    """Between them, the kernel's buffers hold some MiB; the answer is much longer, and the gateway must not hold it."""
    choices, size = 24, 4 << 20
    text = "word " * (size // 5)
    body = {"model": "alone-none", "messages": [{"role": "user", "content": text}], "n": choices, "stream": True}
    before = await calm(stage.up, "echo-alone-none", "echo")
    async with asyncio.timeout(60):
        host, port = stage.up.address.removeprefix("http://").split(":")
        # A small window towards the caller, so that the system cannot take it all.
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 12)
        raw = json.dumps(body).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {stage.up.key}\r\ncontent-length: {len(raw)}\r\n\r\n"
        writer.write(head.encode() + raw)
        assert b"200" in await reader.readline()
        look = await stage.engine("none")
        last, still = -1, 0
        while still < 10:
            sent = (await look.counters())["sent_bytes"] - before["sent_bytes"]
            still = still + 1 if sent == last and sent > 0 else 0
            last = sent
            await asyncio.sleep(0.1)
        assert (await look.counters())["active"] == 1
        assert 0 < last < choices * size / 2, "the engine waits"
        writer.transport.abort()
    after = await calm(stage.up, "echo-alone-none", "echo")
    assert after["requests"] == before["requests"] + 1


async def test_after_all_faults_the_door_takes_as_many_at_once_as_before(stage: Stage) -> None:
    """A request that was never counted out would leave less room than `max_in_flight`."""
    for fault in ("cut_after", "stall_after", "wrong_json", "hang"):
        await asyncio.gather(*(stage.ask(f"turn-{fault}", stream=True, user=str(n)) for n in range(8)))
    await calm(stage.up, "echo")
    open_before = open_connections(stage.up)
    for fault in ("cut_after", "cut_before_first", "malformed_event", "error_500"):
        for number in range(10):
            await stage.ask(f"turn-{fault}", stream=True, user=str(number))
    await calm(stage.up, "echo")
    assert open_connections(stage.up) <= open_before + 8, "kept connections are few and do not grow with requests"
    answers = await asyncio.gather(*(stage.ask("turn-stall_after", user=str(n)) for n in range(16)))
    assert {answer.status for answer in answers} == {200}


def open_connections(up: Running) -> int:
    """Of this process, in which the gateway runs."""
    return len(psutil.Process().net_connections("tcp"))
