"""A server that somebody else runs has to answer once before it gets traffic, and what it says against it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support.projects import open_written, running, write_project

from changeover.app.deploy import deploy
from changeover.app.readiness import states
from changeover.core.clock import SystemClock
from changeover.core.errors import EngineError
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan
from changeover.serving.supervisor import Supervisor, Timing

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HASTY = Timing(health_every_s=0.05, elsewhere_every_s=0.05, stop_grace_s=0.2)
YES = (200, {"choices": [{"index": 0, "message": {"content": "yes"}, "text": "yes", "finish_reason": "stop"}]})
Said = tuple[int, Mapping[str, Any]]


def refusal(status: int, message: str) -> Said:
    return status, {"error": {"message": message, "type": "invalid_request_error", "code": status}}


class Rented:
    """A server that answers what it is told to, in turn; its last answer again and again. Everybody may list its models."""

    def __init__(self, *answers: Said) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, json.loads(await request.read())))
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.json_response(body, status=status)

    async def models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    def plan(self, **options: Json) -> EnginePlan:
        base_url = f"http://127.0.0.1:{self.port}/v1"
        return EnginePlan(
            deployment="far", backend="openai", model="qwen3", options={"base_url": base_url, "model": "big", **options}
        )

    def paths(self) -> Sequence[str]:
        return [path for path, _ in self.asked]


@asynccontextmanager
async def rented(*answers: Said) -> AsyncGenerator[Rented]:
    it = Rented(*answers)
    app = web.Application()
    app.router.add_post(CHAT, it.answer)
    app.router.add_post(COMPLETIONS, it.answer)
    app.router.add_get("/v1/models", it.models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    it.port = runner.addresses[0][1]
    yield it
    await runner.cleanup()


@asynccontextmanager
async def followed(tmp_path: Path, plan: EnginePlan) -> AsyncGenerator[Supervisor]:
    supervisor = Supervisor(SystemClock(), tmp_path, timing=HASTY, client="wire")
    try:
        await supervisor.ensure(plan)
        yield supervisor
    finally:
        await supervisor.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.02)


async def test_a_server_elsewhere_answers_once_and_briefly_before_it_is_ready(tmp_path: Path) -> None:
    async with rented(YES) as server, followed(tmp_path, server.plan()) as supervisor:
        await supervisor.wait_ready("far", 20)

        [(path, body)] = server.asked
        assert (path, body["model"], body["max_tokens"]) == (CHAT, "big", 16)
        assert supervisor.status("far").detail == "first answer checked"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            refusal(404, "The model `big` does not exist."),
            "refused its first answer (model `big`, status 404): The model",
        ),
        (refusal(400, "Model Not Exist"), "refused its first answer (model `big`, status 400): Model Not Exist"),
        (refusal(401, "no such key: sk-secret"), "refuses its key (status 401)"),
        (
            refusal(500, "out of memory"),
            "failed its first answer (model `big`): `far` answered with status 500: out of",
        ),
        ((200, {"choices": []}), "failed its first answer (model `big`): it has no `choices`"),
    ],
)
async def test_what_speaks_against_a_server_elsewhere_is_told_until_it_answers(
    tmp_path: Path, said: Said, told: str
) -> None:
    async with rented(said) as server, followed(tmp_path, server.plan()) as supervisor:
        await until(lambda: len(server.asked) > 1)
        status = supervisor.status("far")
        assert (status.state, supervisor.upstream("far")) == ("starting", None)
        assert status.detail.startswith(told)
        assert "secret" not in status.detail

        server.answers = [YES]
        await supervisor.wait_ready("far", 20)


async def test_a_server_is_asked_in_the_words_that_it_takes(tmp_path: Path) -> None:
    thinks = refusal(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    base = refusal(400, "This model has no chat template. Ask it by `/v1/completions`.")
    async with rented(thinks, YES) as server, followed(tmp_path, server.plan()) as supervisor:
        await supervisor.wait_ready("far", 20)
        assert ["max_completion_tokens" in body for _, body in server.asked] == [False, True]
    async with rented(base, YES) as server, followed(tmp_path, server.plan()) as supervisor:
        await supervisor.wait_ready("far", 20)
        assert server.paths() == [CHAT, COMPLETIONS]


async def test_a_server_with_too_much_to_do_is_ready_and_one_that_makes_vectors_is_asked_for_no_words(
    tmp_path: Path,
) -> None:
    busy = refusal(429, "slow down")
    async with rented(busy) as server, followed(tmp_path, server.plan()) as supervisor:
        await supervisor.wait_ready("far", 20)
        assert supervisor.status("far").detail.startswith("first answer not checked: `far` has too much to do")
    vectors: Json = {"endpoints": ["embeddings"]}
    async with rented(busy) as server, followed(tmp_path, server.plan(profile=vectors)) as supervisor:
        await supervisor.wait_ready("far", 20)
        assert server.asked == []


async def test_whoever_waits_for_a_server_that_refuses_is_told_at_once_what_to_look_at(tmp_path: Path) -> None:
    installation = open_written(write_project(tmp_path / "project"))
    async with rented(refusal(404, "The model `big` does not exist.")) as server:
        deploy(installation, server.plan(), "test")
        async with running(installation):
            with pytest.raises(
                EngineError, match=r"status 404.*does not exist\. Look at its address, its key and the model"
            ):
                await asyncio.to_thread(list, states(installation, "far", 60))
