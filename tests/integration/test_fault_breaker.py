"""The circuit breaker, and what a task's file may say of its echo engine."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import threading
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.faults import canary, engine, fault_task
from tests.support.processes import Up, system, until
from tests.support.projects import open_written, running, write_project

from changeover.app.local import operator_key
from changeover.core.errors import ConfigError
from changeover.tasks.queries import recent_exchanges

CHAT = "/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "one two three"}]}


async def test_an_engine_that_fails_again_and_again_is_left_alone_for_a_while(tmp_path: Path) -> None:
    gateway = "ready_wait_s = 0.2\nbreaker_failures = 4\nbreaker_open_s = 3.0"
    project = write_project(tmp_path / "p", gateway=gateway)
    fault_task(project, "alone", {}, {"fault": "error_500"})
    fault_task(project, "turn", {})
    async with running(open_written(project)) as up:
        await up.ready("echo", "echo-alone")
        await canary(up, "turn", "echo-alone")
        look = await engine(up, "echo-alone")
        async with aiohttp.ClientSession(up.address, headers=up.headers()) as http:

            async def ask(task: str) -> tuple[int, str | None, Any]:
                async with http.post(CHAT, json={"model": task, **BODY}) as response:
                    return response.status, response.headers.get("retry-after"), await response.json()

            status, wait, answer = await ask("alone")
            assert (status, answer["error"]["code"]) == (502, "model_failed")
            while status == 502:
                status, wait, answer = await ask("alone")
            assert (status, answer["error"]["code"]) == (503, "not_ready")
            assert int(wait or 0) >= 1
            asked = (await look.counters())["requests"]
            assert asked == 4

            # Whoever else can answer does so at once, without asking it.
            assert (await ask("turn"))[0] == 200
            assert (await look.counters())["requests"] == asked

            # Then it is tried again, by one request.
            async with asyncio.timeout(10):
                while (await look.counters())["requests"] == asked:
                    assert (await ask("turn"))[0] == 200
                    await asyncio.sleep(0.05)
            assert (await look.counters())["requests"] == asked + 1


async def test_an_engine_that_answers_again_is_asked_again(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", gateway="ready_wait_s = 0.2\nbreaker_failures = 2\nbreaker_open_s = 0.5")
    fault_task(project, "alone", {}, {"fault": "error_500", "fault_rate": 0.75})  # the first of each four is well
    async with running(open_written(project)) as up:
        await up.ready("echo-alone")
        async with aiohttp.ClientSession(up.address, headers=up.headers()) as http, asyncio.timeout(20):
            statuses: list[int] = []
            while statuses.count(200) < 3:
                async with http.post(CHAT, json={"model": "alone", **BODY}) as response:
                    statuses.append(response.status)
                await asyncio.sleep(0.1)
    assert {502, 503, 200} >= set(statuses)
    assert 503 in statuses


@pytest.mark.parametrize(
    ("keys", "echo", "says"),
    [
        ({}, {"fualt": "hang"}, "`echo.fualt`: unknown key. Did you mean `fault`?"),
        ({}, {"fault": "explode"}, "`echo.fault` = `explode`"),
        ({}, {"fault_rate": 2}, "`echo.fault_rate` = `2`"),
        (
            {"first_incumbent": "smollm2-135m-instruct"},
            {"fault": "hang"},
            "`echo`: options of the echo engine, but `first_incumbent` is `smollm2-135m-instruct`",
        ),
    ],
)
def test_a_wrong_option_in_a_tasks_file_is_one_clear_error(
    tmp_path: Path, keys: dict[str, Any], echo: dict[str, Any], says: str
) -> None:
    project = write_project(tmp_path / "p")
    fault_task(project, "wrong", keys, echo)
    with pytest.raises(ConfigError) as caught:
        open_written(project)
    assert caught.value.message.startswith(f"{project / 'tasks' / 'wrong.toml'}: ")
    assert says in caught.value.message


def test_sigterm_lets_answers_end_and_takes_nothing_new(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", tasks=("echo",))
    fault_task(project, "slow", {}, {"chunk_delay_s": 0.8, "chunks": 8})
    fault_task(project, "late", {}, {"delay_s": 4.0})
    with system(project) as up:
        until(lambda: up.ready("echo-slow") and up.ready("echo-late"))
        texts: dict[str, str] = {}
        begun = threading.Barrier(3)
        asking = [
            threading.Thread(target=read, args=(up, "slow", True, begun, texts)),
            threading.Thread(target=read, args=(up, "late", False, begun, texts)),
        ]
        for thread in asking:
            thread.start()
        begun.wait(30)
        up.process.send_signal(signal.SIGTERM)
        until(lambda: refused(up))
        assert up.process.poll() is None, "it waits for the answers under way"
        assert "slow" not in texts
        for thread in asking:
            thread.join(30)
        assert up.process.wait(30) == 0
        assert texts["slow"].endswith("data: [DONE]\n\n")
        assert texts["slow"].count('"content":"') == 1 + 8
        assert json.loads(texts["late"])["choices"][0]["message"]["content"] == "1 2 3 4 5 6 7 8"
        with up.opened() as installation, installation.store.read() as connection:
            for task in ("slow", "late"):
                [kept] = recent_exchanges(connection, task)
                assert (kept.status, kept.truncated, kept.abandoned) == (200, False, False)


def read(up: Up, task: str, stream: bool, begun: threading.Barrier, texts: dict[str, str]) -> None:
    """Ask, tell when the answer is under way, read it to its end."""
    connection = http.client.HTTPConnection(up.address.removeprefix("http://"), timeout=30)
    body = {"model": task, "messages": [{"role": "user", "content": "1 2 3 4 5 6 7 8"}], "stream": stream}
    headers = {"authorization": f"Bearer {up.key}", "content-type": "application/json"}
    connection.request("POST", CHAT, json.dumps(body), headers)
    if stream:
        response = connection.getresponse()
        first = response.readline()
        begun.wait(30)
    else:
        until(lambda: both_under_way(up))
        begun.wait(30)
        response = connection.getresponse()
        first = b""
    texts[task] = (first + response.read()).decode()
    connection.close()


def both_under_way(up: Up) -> bool:
    look = http.client.HTTPConnection(up.address.removeprefix("http://"), timeout=10)
    key = operator_key(up.project / ".changeover")
    look.request("GET", "/healthz", headers={"authorization": f"Bearer {key}"})
    state = json.loads(look.getresponse().read())
    look.close()
    return state["in_flight"] == 2


def refused(up: Up) -> bool:
    """Whether a new connection is not taken any more."""
    look = http.client.HTTPConnection(up.address.removeprefix("http://"), timeout=5)
    try:
        look.request("GET", "/healthz")
        look.getresponse().read()
    except ConnectionError:
        return True
    finally:
        look.close()
    return False
