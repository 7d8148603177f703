"""A front with a worker of its own: two real processes, asked over HTTP, with a model that is a toy."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from changeover.core.errors import ContextOverflow, EngineError, RequestError, UpstreamError
from changeover.serving.backends import Launch
from changeover.serving.engines import at_home, worker
from changeover.serving.process import ChildEngine, EngineLog
from changeover.serving.upstream import Upstream, make_client

CHAT = "/v1/chat/completions"
CONTEXT = 64
SECRET = "toy-secret"


def launch(*, grammar: bool = True, **more: object) -> Launch:
    return Launch(
        argv=(sys.executable, "-P", "-m", "changeover.serving.engines.front"),
        config={
            "deployment": "toy",
            "skills": {"grammar": grammar, "top_logprobs": True},
            "argv": [sys.executable, "-m", "tests.support.toy_worker"],
            "worker": {"context_tokens": CONTEXT, **more},
        },
    )


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a front that all tests share; started by hand, since an event loop is not."""
    with subprocess.Popen(launch().argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({**launch().config, "secret": SECRET, "parent": os.getpid()}).encode() + b"\n")
        process.stdin.flush()
        yield json.loads(process.stdout.readline())["port"]
        process.stdin.close()


@pytest.fixture
async def upstream(port: int) -> AsyncIterator[Upstream]:
    client = make_client("wire")
    yield client.upstream("toy", f"http://127.0.0.1:{port}", SECRET, None, probe_path="/health")
    await client.close()


def said(text: str, **fields: object) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": text}], **fields}).encode()


async def ask(upstream: Upstream, body: bytes, path: str = CHAT) -> Any:
    async with upstream.send(path, body, first_byte_s=30, stall_s=30) as answer:
        return json.loads(await answer.read())


async def events(upstream: Upstream, body: bytes, path: str = CHAT) -> list[Any]:
    async with upstream.send(path, body, first_byte_s=30, stall_s=30) as answer:
        text = (await answer.read()).decode()
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def test_an_answer_comes_whole_with_its_usage_and_its_reason(upstream: Upstream) -> None:
    answer = await ask(upstream, said("Hello"))
    (choice,) = answer["choices"]
    assert (answer["object"], answer["model"]) == ("chat.completion", "toy")
    assert choice["message"] == {"role": "assistant", "content": "Hello"}
    assert choice["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}


async def test_an_answer_comes_in_pieces_without_half_characters(upstream: Upstream) -> None:
    *chunks, usage, done = await events(upstream, said("né 🎉", stream=True, stream_options={"include_usage": True}))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert [delta.get("content", "") for delta in deltas] == ["n", "é", " ", "🎉", ""]
    assert [delta.get("role") for delta in deltas] == ["assistant", None, None, None, None]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 4 + ["stop"]
    assert (usage["choices"], usage["usage"]["completion_tokens"], done) == ([], 9, "[DONE]")


async def test_a_stop_string_ends_an_answer_and_a_limit_does(upstream: Upstream) -> None:
    stopped = (await ask(upstream, said("one two three", stop=["tw"])))["choices"][0]
    assert (stopped["message"]["content"], stopped["finish_reason"]) == ("one ", "stop")
    cut = (await ask(upstream, said("one two three", max_tokens=3)))["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == ("one", "length")


async def test_several_choices_come_side_by_side(upstream: Upstream) -> None:
    answer = await ask(upstream, said("ab", n=3))
    assert [each["message"]["content"] for each in answer["choices"]] == ["ab"] * 3
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 9, "total_tokens": 11}
    streamed = [each for each in await events(upstream, said("ab", n=3, stream=True)) if each != "[DONE]"]
    assert {each["choices"][0]["index"] for each in streamed} == {0, 1, 2}
    assert sum("role" in each["choices"][0]["delta"] for each in streamed) == 3


async def test_what_cannot_be_is_a_number_that_json_has(upstream: Upstream) -> None:
    chat = await ask(upstream, said("impossible", logprobs=True, top_logprobs=2))
    first = chat["choices"][0]["logprobs"]["content"][0]
    assert (first["logprob"], [each["logprob"] for each in first["top_logprobs"]]) == (-9999.0, [-9999.0, -1.5])


async def test_log_probabilities_come_in_openais_two_forms(upstream: Upstream) -> None:
    chat = await ask(upstream, said("hi", logprobs=True, top_logprobs=2))
    first = chat["choices"][0]["logprobs"]["content"][0]
    assert (first["token"], first["logprob"], first["bytes"]) == ("h", -0.5, [104])
    assert [each["token"] for each in first["top_logprobs"]] == ["h", "z"]
    body = json.dumps({"prompt": "hi", "logprobs": 1}).encode()
    scores = (await ask(upstream, body, "/v1/completions"))["choices"][0]["logprobs"]
    assert (scores["tokens"], scores["top_logprobs"]) == (["h", "i"], [{"h": -0.5}, {"i": -0.5}])


async def test_prompts_are_completed_one_after_the_other(upstream: Upstream) -> None:
    answer = await ask(upstream, json.dumps({"prompt": ["ab", [99, 100]], "n": 2}).encode(), "/v1/completions")
    assert [(each["index"], each["text"]) for each in answer["choices"]] == [(0, "ab"), (1, "ab"), (2, "cd"), (3, "cd")]
    echo = await events(
        upstream, json.dumps({"prompt": "ab", "echo": True, "stream": True}).encode(), "/v1/completions"
    )
    assert "".join(each["choices"][0]["text"] for each in echo[:-1]) == "abab"


async def test_a_prompt_that_is_too_long_is_refused_as_openai_does(upstream: Upstream) -> None:
    with pytest.raises(ContextOverflow) as caught:
        await ask(upstream, said("x" * CONTEXT, stream=True))
    assert (caught.value.prompt_tokens, caught.value.context_tokens) == (CONTEXT, CONTEXT)
    assert (await ask(upstream, said("x" * (CONTEXT - 2))))["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"messages": [', "is not JSON"),
        (b"[1]", "must be a JSON object"),
        (said("x", temperature="hot"), "`temperature` must be a number"),
        (said("untemplatable"), "roles must alternate"),
        (said("x", grammar="boom"), "cannot use this schema or grammar: it broke"),
    ],
)
async def test_what_is_the_callers_fault_is_a_400_with_its_reason(upstream: Upstream, body: bytes, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        await ask(upstream, body)


async def test_what_raises_while_computing_is_one_requests_failure_and_the_engine_goes_on(upstream: Upstream) -> None:
    for _ in range(2):
        with pytest.raises(UpstreamError, match="The engine failed: it broke"):
            await ask(upstream, said("boom", stream=True))
    assert (await ask(upstream, said("still here")))["choices"][0]["message"]["content"] == "still here"


async def test_a_grammar_that_breaks_the_step_leaves_the_others_alone(upstream: Upstream) -> None:
    others = [asyncio.create_task(ask(upstream, said(text))) for text in ("endless", "another")]
    with pytest.raises(RequestError, match="it broke"):
        await ask(upstream, said("x", grammar="boom"))
    assert [(await other)["choices"][0]["finish_reason"] for other in others] == ["length", "stop"]


async def test_it_says_that_it_is_well_while_its_worker_computes(upstream: Upstream) -> None:
    slow = asyncio.create_task(ask(upstream, said("sleep", max_tokens=4)))
    looks = 0
    while not slow.done():
        assert await upstream.probe(2.0) is None
        looks += 1
        await asyncio.sleep(0.02)
    assert looks > 5, "as many as there would be between its four steps"
    assert (await slow)["choices"][0]["finish_reason"] == "length"


async def test_a_caller_who_leaves_frees_the_place(upstream: Upstream) -> None:
    async def at_work() -> str:
        """How many requests the worker has at hand."""
        return (await ask(upstream, said("running", max_tokens=1)))["choices"][0]["message"]["content"]

    for stream in (True, False):
        leaving = asyncio.create_task(ask(upstream, said("sleep", n=2, stream=stream)))
        async with asyncio.timeout(30):
            while await at_work() != "2":
                await asyncio.sleep(0.05)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        async with asyncio.timeout(15):  # half of what they would take to their end
            while await at_work() != "0":
                await asyncio.sleep(0.05)


async def test_only_who_knows_the_secret_is_answered(port: int) -> None:
    client = make_client("wire")
    stranger = client.upstream("toy", f"http://127.0.0.1:{port}", "guessed", None)
    for path in (CHAT, "/v1/completions", "/tokenize", "/v1/nothing"):
        with pytest.raises(UpstreamError, match="status 401"):
            await ask(stranger, said("x"), path)
    await client.close()


async def test_text_is_counted_without_an_answer(upstream: Upstream) -> None:
    assert await ask(upstream, b'{"content": "abc"}', "/tokenize") == {"tokens": [97, 98, 99], "count": 3}


async def test_a_worker_that_cannot_load_says_why(tmp_path: Path) -> None:
    engine = ChildEngine(launch(broken=True), EngineLog(tmp_path / "d.log"), os.environ)
    with pytest.raises(EngineError, match="could not start: the weights are no weights"):
        await engine.start(60)
    await engine.stop(5)


async def test_when_the_worker_ends_the_front_does_and_says_so(tmp_path: Path) -> None:
    engine = ChildEngine(launch(), EngineLog(tmp_path / "d.log"), os.environ)
    ready = await engine.start(60)
    client = make_client("wire")
    upstream = client.upstream("toy", f"http://127.0.0.1:{ready.port}", ready.secret, None)
    with pytest.raises(UpstreamError):
        await ask(upstream, said("die"))
    assert await engine.wait() == "ended with status 1; its log says: the model's process ended with status 3"
    await client.close()
    await engine.stop(5)


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_no_worker_outlives_its_front(tmp_path: Path, how: str) -> None:
    engine = ChildEngine(launch(), EngineLog(tmp_path / "d.log"), os.environ)
    await engine.start(60)
    assert engine.pid is not None
    (toy,) = psutil.Process(engine.pid).children()
    if how == "killed":
        os.kill(engine.pid, signal.SIGKILL)
    await engine.stop(5)
    await asyncio.to_thread(psutil.wait_procs, [toy], 20)
    assert not toy.is_running() or toy.status() == psutil.STATUS_ZOMBIE


def test_our_modules_run_where_none_of_our_packages_are() -> None:
    bare = [sys.executable, "-I", "-S"]
    alone = subprocess.run([*bare, "-c", f"import {worker.__name__}"], capture_output=True, check=False, timeout=60)
    assert b"No module named 'changeover'" in alone.stderr
    home = subprocess.run([*bare, str(at_home.__file__), worker.__name__], capture_output=True, check=False, timeout=60)
    assert (home.returncode, home.stderr) == (0, b"")
