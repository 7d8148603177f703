"""A real model's engine is killed in the middle of streams: each goes on where it was, once the engine is back."""

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.projects import open_written, running

import changeover
from changeover.core.settings import cache_directory
from changeover.library.catalogue import Catalogue
from changeover.library.pull import present
from changeover.tasks.queries import recent_exchanges

MODEL = "smollm2-135m-instruct"
QUESTION = "Write a Python function `add_fee(amount, fee)` that returns the amount plus the fee."
AT_ONCE = 4

pytestmark = pytest.mark.models


def one_task(project: Path) -> Path:
    template = Path(changeover.__file__).parent / "templates" / "project"
    for part in ("tasks/code.toml", "tasks/code.prompt.md", "evals/code/v1.jsonl"):
        (project / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(template / part, project / part)
    settings = "[gateway]\nport = 0\nready_wait_s = 60\n[engines]\nslots = 2\ncontext_tokens = 1024\n"
    (project / "changeover.toml").write_text(f'name = "real"\n{settings}')
    return project


async def test_streams_of_an_engine_that_is_killed_go_on_when_it_is_back(tmp_path: Path) -> None:
    if not present(Catalogue.load().card(MODEL).artifacts[0], cache_directory()):
        pytest.skip(f"{MODEL} is not in the cache `{cache_directory()}`; `changeover pull {MODEL}` fetches it")
    installation = open_written(one_task(tmp_path / "p"))
    async with running(installation, workers=2) as up, aiohttp.ClientSession(up.address) as http:
        await up.ready(MODEL)
        spoken = asyncio.Event()
        body = {
            "model": "code",
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": 40,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

        async def stream() -> str:
            text = ""
            async with http.post("/v1/chat/completions", json=body, headers=up.headers()) as response:
                assert response.status == 200, await response.text()
                async for line in response.content:
                    text += line.decode()
                    if text.count('"content":"') > 8:
                        spoken.set()
            return text

        async def kill() -> None:
            await spoken.wait()
            status = next(s for s in up.system.fleet.statuses() if s.name == MODEL)
            assert status.pid is not None
            os.kill(status.pid, signal.SIGKILL)

        *answers, _ = await asyncio.gather(*(stream() for _ in range(AT_ONCE)), kill())
        for answer in answers:
            assert answer.endswith("data: [DONE]\n\n"), answer[-400:]
            events: list[Any] = [json.loads(each[6:]) for each in answer.split("\n\n") if each.startswith("data: {")]
            choices = [choice for event in events for choice in event["choices"]]
            text = "".join(choice["delta"].get("content") or "" for choice in choices)
            assert text.count("def add_fee") == 1, "what was said is not said again"
            assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] in (["stop"], ["length"])
            assert len({event["id"] for event in events if "id" in event}) == 1
        async with asyncio.timeout(10):
            while True:
                with installation.store.read() as connection:
                    kept = recent_exchanges(connection, "code", limit=100)
                if len(kept) == AT_ONCE:
                    break
                await asyncio.sleep(0.05)
        assert [row.error for row in kept] == [None] * AT_ONCE
        begun = [row for row in kept if row.begun_by is not None]
        assert begun, "at least the one that had spoken"
        for row in begun:
            assert row.begun_by == row.variant
            assert row.begun_by in row.failed_variants
            assert row.usage_estimated
