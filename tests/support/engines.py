"""An engine running as its backend launches it, without a supervisor, and how it is asked."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from changeover.serving.backends import Backend, Launch
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ChildEngine, EngineLog
from changeover.serving.upstream import Upstream, make_client

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
PATIENCE_S = 300


@asynccontextmanager
async def running(backend: Backend, plan: EnginePlan, folder: Path) -> AsyncIterator[Upstream]:
    """The way to an engine that was started for this and ends with it."""
    launch = backend.launch(plan)
    assert isinstance(launch, Launch)
    engine = ChildEngine(launch, EngineLog(folder / f"{plan.deployment}.log"), os.environ)
    client = make_client("wire")
    try:
        ready = await engine.start(PATIENCE_S)
        yield client.upstream(
            plan.deployment, f"http://127.0.0.1:{ready.port}", ready.secret, None, probe_path=launch.probe_path
        )
    finally:
        await client.close()
        await engine.stop(5)


async def ask(upstream: Upstream, path: str = CHAT, **fields: Any) -> Any:
    """The whole answer to a request."""
    body = json.dumps(fields).encode()
    async with upstream.send(path, body, first_byte_s=PATIENCE_S, stall_s=PATIENCE_S) as answer:
        return json.loads(await answer.read())


async def chat(upstream: Upstream, text: str, **fields: Any) -> Any:
    """The first choice of an answer, at temperature 0 unless that is said."""
    asked = {"messages": [{"role": "user", "content": text}], "temperature": 0, **fields}
    return (await ask(upstream, **asked))["choices"][0]


async def events(upstream: Upstream, path: str = CHAT, **fields: Any) -> list[Any]:
    """The chunks of a streamed answer, without the mark at its end."""
    body = json.dumps({**fields, "stream": True}).encode()
    async with upstream.send(path, body, first_byte_s=PATIENCE_S, stall_s=PATIENCE_S) as answer:
        text = (await answer.read()).decode()
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]
