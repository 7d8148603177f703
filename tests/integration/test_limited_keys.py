"""A key of some tasks only, whatever its role, is told nothing of the others by any route of the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.others import MARK
from tests.support.projects import Running, open_written, running, write_project
from tests.support.tool_calls import write_tool

from changeover.gateway.keys import issue_key
from changeover.gateway.routes import MODEL_PREFIX, ROUTES, Route

OTHER = f"{MARK}-pay"
CHAT = {"messages": [{"role": "user", "content": "hi"}]}
TOLD = {"reason": "a walk", "to": "none", "gate": "approval", "approver": "ana", "expires_at": "2100-01-01T00:00:00Z"}


@pytest.fixture
async def up(tmp_path: Path) -> AsyncGenerator[Running]:
    project = write_project(tmp_path / "p", ("echo", OTHER))
    write_tool(project, MARK)
    async with running(open_written(project)) as up:
        await up.ready("echo")
        yield up


def body_of(route: Route, task: str, request: str) -> dict[str, Any]:
    if route.page == "feedback":
        return {"request_id": request, "good": True}
    if route.page == "tools":
        return {"inputs": {"text": "hi"}}
    if route.page == "admin":
        fields = {"switch": ("reason", "to"), "override": ("reason", "gate", "approver", "expires_at")}
        return {name: TOLD[name] for name in fields.get(route.path.rpartition("/")[2], ("reason",))}
    return {"model": task, **CHAT, "prompt": "hi", "input": "hi", "max_tokens": 9}


def path_of(route: Route, task: str, job: str) -> str:
    path = f"{MODEL_PREFIX}{task}" if route.path == MODEL_PREFIX else route.path
    return path.replace("{task}", task).replace("{name}", MARK).replace("{job}", job)


async def test_no_route_tells_a_limited_key_of_what_is_others(up: Running) -> None:
    with up.installation.store.write() as connection:
        key = issue_key(connection, name="one", role="admin", now=up.installation.clock.now(), tasks=["echo"])
    told: dict[str, str] = {}
    all_of_it = {"authorization": f"Bearer {up.operator}"}
    async with aiohttp.ClientSession(up.address) as http:
        async with asyncio.timeout(10):
            while (await _asked(http, "GET", "/v1/models", key))[0] == 401:
                await asyncio.sleep(0.05)
        async with http.post("/v1/chat/completions", json={"model": OTHER, **CHAT}, headers=all_of_it) as answer:
            assert answer.status == 200
            request = answer.headers["x-changeover-request-id"]
        path, said = f"/v1/tools/{MARK}?as=job", {"inputs": {"text": "hi"}}
        async with http.post(path, json=said, headers=all_of_it) as answer:
            job = (await answer.json())["id"]
        for route in ROUTES:
            for method in route.methods:
                for task in ("echo", OTHER, f"{OTHER}@none", "no-such"):
                    path, body = path_of(route, task, job), body_of(route, task, request)
                    status, text = await _asked(http, method, path, key, None if method == "GET" else body)
                    for typed in (path, *(name for name in (task, OTHER, MARK, job) if name in f"{path} {task}")):
                        text = text.replace(typed, "")
                    if MARK in text or job in text:
                        told[f"{method} {path}"] = text
                    if "{job}" in route.path or (route.page == "feedback"):
                        assert status == 404, (method, path)
        assert told == {}
        status, text = await _asked(http, "GET", "/metrics", key)
        assert (status, json.loads(text)["error"]["code"]) == (403, "permission_denied")
        assert OTHER in (await _asked(http, "GET", "/metrics", up.operator))[1]


async def _asked(
    http: aiohttp.ClientSession, method: str, path: str, key: str, body: dict[str, Any] | None = None
) -> tuple[int, str]:
    headers = {"authorization": f"Bearer {key}"}
    async with http.request(method, path, json=body, headers=headers) as answer:
        return answer.status, await answer.text()
