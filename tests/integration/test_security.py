"""What nobody may do at the door: every route with every role, and requests made to confuse whoever reads them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.support.projects import Running, deploy_echo, open_written, running, write_project
from tests.support.tool_calls import write_tool

from changeover.app.deploy import declared_variant, deploy
from changeover.gateway.connection import MOST_HEAD_BYTES
from changeover.gateway.keys import CALLERS, ROLES, Role, issue_key
from changeover.gateway.routes import ANYBODY, MODEL_PREFIX, ROUTES, Route
from changeover.rollouts.actions import By, plan_of, promote, start
from changeover.serving.first_answer import FIRST_WORDS
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import keep_variant
from changeover.tasks.queries import recent_exchanges

CHAT = "/v1/chat/completions"
EVERYBODY: tuple[Role | None, ...] = (None, *ROLES)
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9},
}
TOLD: dict[str, Any] = {
    "reason": "a walk",
    "switch": {"to": "echo"},
    "override": {"gate": "approval", "approver": "ana", "expires_at": "2100-01-01T00:00:00Z"},
}
"""What the admin API's routes are told. Where no rollout is under way each is refused, with its own status."""


@pytest.fixture
async def up(tmp_path: Path) -> AsyncGenerator[Running]:
    gateway = "ready_wait_s = 5\narrival_s = 3\nmax_body_mib = 0.5"
    project = write_project(tmp_path / "p", gateway=gateway)
    write_tool(project)
    async with running(open_written(project)) as up:
        await up.ready("echo")
        yield up


def key_of(up: Running, role: Role | None) -> str | None:
    if role is None:
        return None
    with up.installation.store.write() as connection:
        return issue_key(connection, name=f"a {role}", role=role, now=up.installation.clock.now())


async def until_known(up: Running, http: aiohttp.ClientSession, key: str) -> None:
    async with asyncio.timeout(10):
        while (await status(http, "GET", "/v1/models", key))[0] == 401:
            await asyncio.sleep(0.05)


async def status(
    http: aiohttp.ClientSession, method: str, path: str, key: str | None, body: Any = None
) -> tuple[int, Any]:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with http.request(method, path, headers=headers, json=body) as response:
        said = await response.read()
        return response.status, json.loads(said) if said.startswith(b"{") else said


async def answered(http: aiohttp.ClientSession, key: str | None) -> str:
    """Id of a request that was answered."""
    headers, body = {"authorization": f"Bearer {key}"}, {"model": "echo", **BODIES[CHAT]}
    async with http.post(CHAT, headers=headers, json=body) as response:
        assert response.status == 200
        return response.headers["x-changeover-request-id"]


async def a_job(http: aiohttp.ClientSession, key: str | None) -> str:
    """Id of one of a key's own."""
    got, job = await status(http, "POST", "/v1/tools/say?as=job", key, {"inputs": {"text": "hi"}})
    assert got == 202, job
    return job["id"]


def path_of(route: Route, job: str) -> str:
    if route.path == MODEL_PREFIX:
        return "/v1/models/echo"
    return route.path.replace("{task}", "echo").replace("{name}", "say").replace("{job}", job)


def body_of(route: Route, method: str) -> dict[str, Any] | None:
    if route.endpoint is not None:
        return {"model": "echo", **BODIES[route.path]}
    if route.page == "tools" and method == "POST":
        return {"inputs": {"text": "hi"}}
    if route.page == "admin" and method == "POST":
        return {"reason": TOLD["reason"], **TOLD.get(route.path.rpartition("/")[2], {})}
    return None


async def test_every_route_lets_in_the_roles_of_its_row_and_nobody_else(up: Running) -> None:
    async with aiohttp.ClientSession(up.address) as http:
        keys = {role: key_of(up, role) for role in EVERYBODY}
        for key in keys.values():
            if key is not None:
                await until_known(up, http, key)
        for route in ROUTES:
            for role, key in keys.items():
                for method in route.methods:
                    own = key if role in CALLERS else keys["application"]
                    body = body_of(route, method)
                    if route.page == "feedback":
                        body = {"request_id": await answered(http, own), "good": True}
                    job = await a_job(http, own) if "{job}" in route.path else ""
                    got, said = await status(http, method, path_of(route, job), key, body)
                    if route.page == "admin" and method == "POST" and role in route.roles:
                        assert (got, said["error"]["code"]) == (409, "not_allowed"), (route.path, said)
                    elif route.roles == ANYBODY or role in route.roles:
                        assert got == 200, (route.path, role, said)
                    elif role is None:
                        assert got == 401, (route.path, said)
                    else:
                        assert (got, said["error"]["code"]) == (403, "permission_denied"), (route.path, role)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/",
        "/V1/chat/completions",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/../v1/chat/completions",
        "/healthz/../v1/models",
        "/metrics/",
        "/docs",
        "/v1/models/",
        "/v1/keys",
        "/health",
        "/",
    ],
)
async def test_what_is_not_in_the_table_does_not_exist(up: Running, path: str) -> None:
    answer = await raw(up, f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404"), answer[:200]


async def test_a_path_is_taken_as_it_was_routed_whatever_the_host_says(up: Running) -> None:
    for host in ("x/healthz?", "x#", "[::1", "a@b", ""):
        answer = await raw(up, f"GET /metrics HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        assert answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400")), (host, answer[:200])


async def test_a_wrong_method_is_told_the_right_one(up: Running) -> None:
    answer = await raw(up, b"GET /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405")
    assert b"allow: POST" in answer


async def raw(up: Running, request: bytes, *, wait_s: float = 5.0) -> bytes:
    """Send bytes as they are; what comes back until the server closes, falls silent, or has answered whole."""
    host, port = up.address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = b""
    try:
        async with asyncio.timeout(wait_s):
            while part := await reader.read(65536):
                answer += part
                if complete(answer):
                    break
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    return answer


def complete(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    lengths = [int(line[16:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
    return bool(found and lengths and len(body) >= lengths[0])


def post(up: Running, *headers: str, body: bytes = b"{}") -> bytes:
    lines = [f"POST {CHAT} HTTP/1.1", "host: x", f"authorization: Bearer {up.key}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


SMUGGLED = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        ("content-length: 40", "transfer-encoding: chunked"),
        ("transfer-encoding: chunked", "content-length: 40"),
        ("content-length: 40", "content-length: 5"),
        ("content-length: +40",),
        ("content-length: 0x28",),
        ("content-length: -1",),
        ("transfer-encoding: xchunked",),
        ("transfer-encoding: chunked, identity",),
        ("transfer-encoding : chunked",),
        ("content-length : 40",),
        ("x: y\r\n continued: z", "content-length: 2"),
    ],
)
async def test_a_request_whose_end_is_in_doubt_is_refused_and_nothing_behind_it_is_read(
    up: Running, headers: tuple[str, ...]
) -> None:
    answer = await raw(up, post(up, *headers, body=SMUGGLED), wait_s=3)
    assert answer.count(b"HTTP/1.1 200") == 0, answer[:300]
    assert answer.startswith(b"HTTP/1.1 4"), answer[:300]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"null", "must be a JSON object"),
        (b"[]", "must be a JSON object"),
        (b'{"model": "echo", "messages": [{"role": "user", "content": "\xff\xfe"}]}', "not JSON"),
        (b'{"model": "echo", "messages": NaN}', "not JSON"),
        (b'{"model": "echo"' + b" " * 10 + b"]", "not JSON"),
        (b'{"model": "echo", "messages": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deeply"),
        (b'{"a":' * 20_000, "n"),
        (b'{"model": "echo\\u0000", "messages": [{"role": "user", "content": "x"}]}', "No task named"),
        (b'{"model": ["echo"], "messages": [{"role": "user", "content": "x"}]}', "`model` is missing"),
    ],
)
async def test_a_body_that_is_no_request_gets_one_clear_error(up: Running, body: bytes, said: str) -> None:
    async with aiohttp.ClientSession(up.address, headers=up.headers()) as http, http.post(CHAT, data=body) as response:
        error = (await response.json())["error"]
        assert 400 <= response.status < 500
        assert said in error["message"]


async def test_of_a_key_that_stands_there_twice_gateway_and_engine_see_the_same_one(up: Running) -> None:
    body = b'{"model": "nothing", "messages": [{"role": "user", "content": "a"}], "model": "echo", "messages": '
    body += b'[{"role": "user", "content": "b"}]}'
    async with aiohttp.ClientSession(up.address, headers=up.headers()) as http, http.post(CHAT, data=body) as response:
        said = await response.json()
    assert (said["model"], said["choices"][0]["message"]["content"]) == ("echo", "b")


async def test_a_body_that_is_too_large_is_refused_before_it_is_read_whole(up: Running) -> None:
    whole = await raw(up, post(up, "content-length: 99999999", body=b"{"))
    assert whole.startswith(b"HTTP/1.1 413"), whole[:200]
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    chunked = await raw(up, post(up, "transfer-encoding: chunked", body=chunk * 20))
    assert chunked.startswith(b"HTTP/1.1 413") or not chunked, chunked[:200]


async def test_headers_without_end_are_refused(up: Running) -> None:
    many = b"".join(b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(MOST_HEAD_BYTES // 1000 + 10))
    answer = await raw(up, b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + many)
    assert answer.startswith(b"HTTP/1.1 431"), answer[:200]


async def test_of_two_requests_in_one_piece_the_first_is_answered_first(up: Running) -> None:
    large = b"GET /one HTTP/1.1\r\nhost: x\r\nx: " + b"y" * (MOST_HEAD_BYTES + 1000) + b"\r\n\r\n"
    answer = await raw(up, large + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", wait_s=3)
    assert answer.startswith(b"HTTP/1.1 431"), answer[:200]
    assert b"200 OK" not in answer


async def test_trailers_without_end_are_not_kept(up: Running) -> None:
    trailers = b"".join(b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(2500))
    answer = await raw(up, post(up, "transfer-encoding: chunked", body=b"2\r\n{}\r\n0\r\n" + trailers + b"\r\n"))
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]


async def test_a_caller_that_asks_and_never_reads_is_not_answered_for_ever(up: Running) -> None:
    host, port = up.address.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port), limit=1024)
    asked = f"GET /openapi.json HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {up.key}\r\n\r\n".encode()
    sent = 0
    try:
        async with asyncio.timeout(3):
            while sent < 500:
                writer.write(asked * 1000)
                await writer.drain()
                sent += 1
    except TimeoutError:
        pass
    assert sent < 500, "it is not read any more while its answers wait"
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize("begun", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: "])
async def test_a_request_that_comes_drop_by_drop_loses_its_connection(up: Running, begun: bytes) -> None:
    answer = await raw(up, begun, wait_s=10)
    assert answer.startswith(b"HTTP/1.1 408"), answer[:200]


async def test_a_body_that_does_not_come_loses_its_connection_and_holds_no_place(up: Running) -> None:
    answer = await raw(up, post(up, "content-length: 100", body=b'{"model"'), wait_s=10)
    assert answer.startswith(b"HTTP/1.1 408"), answer[:200]
    assert up.system.gateway.admission.in_flight == 0


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer a b",
        "bearer\tco-x",
        "Bearer ' OR 1=1 --",
        "Bearer \xff\xfe",
        "Bearer " + "x" * 10_000,
        "Bearer null",
        "Token co-x",
    ],
)
async def test_no_authorization_that_is_not_a_known_key_opens_the_door(up: Running, authorization: str) -> None:
    head = f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n\r\n"
    answer = await raw(up, head.encode("latin-1"))
    assert answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400")), answer[:200]


async def test_two_different_keys_in_one_request_are_refused(up: Running) -> None:
    async with aiohttp.ClientSession(up.address) as http:
        headers = {"authorization": f"Bearer {up.key}", "x-api-key": up.operator}
        async with http.get("/v1/models", headers=headers) as response:
            assert response.status == 401
        async with http.get("/v1/models", headers={"x-api-key": up.key}) as response:
            assert response.status == 200


@pytest.fixture
async def seen() -> AsyncGenerator[tuple[str, list[dict[str, str]]]]:
    """A server that notes the headers it gets, and answers with some that are nobody's business."""
    noted: list[dict[str, str]] = []

    async def chat(request: web.Request) -> web.Response:
        noted.append({name.lower(): value for name, value in request.headers.items()})
        answer = {"id": "x", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}}]}
        own = {
            "x-goog-api-key": "engine-secret",
            "set-cookie": "a=b",
            "server": "inner/1.0",
            "location": "http://inner",
        }
        return web.json_response(answer, headers=own)

    async def moved(request: web.Request) -> web.Response:
        if json.loads(await request.text())["messages"] == FIRST_WORDS["messages"]:
            return await chat(request)  # before it counts as one that answers
        return web.Response(status=302, headers={"location": "http://127.0.0.1:9/elsewhere"})

    async def models(_request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    app.router.add_post("/moved/chat/completions", moved)
    app.router.add_get("/moved/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}", noted
    await runner.cleanup()


async def answered_by(up: Running, name: str, base_url: str) -> None:
    installation = up.installation
    deploy(installation, EnginePlan(deployment=name, backend="openai", model=name, options={"base_url": base_url}), "t")
    variant = declared_variant(installation, "echo", name)
    by = By(actor="test", reason="test", now=installation.clock.now())
    with installation.store.write() as connection:
        keep_variant(connection, variant, by.now)
        plan = plan_of(installation.tasks["echo"].declared)
        revision = promote(connection, start(connection, variant, plan, None, by), None, by).revision
    await up.ready(name)
    async with asyncio.timeout(5):
        while await up.route() != revision:
            await asyncio.sleep(0.02)


async def test_no_header_of_a_callers_reaches_an_engine_and_none_of_an_engines_reaches_the_caller(
    up: Running, seen: tuple[str, list[dict[str, str]]]
) -> None:
    address, noted = seen
    await answered_by(up, "noting", f"{address}/v1")
    noted.clear()  # it was asked for a first answer
    mine = {
        "x-forwarded-for": "10.0.0.1",
        "x-custom-host": "http://evil",
        "x-portkey-custom-host": "http://evil",
        "cookie": "session=1",
        "openai-organization": "org",
        "user-agent": "me/1.0",
    }
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
    async with (
        aiohttp.ClientSession(up.address, headers={**up.headers(), **mine}) as http,
        http.post(CHAT, json=body) as response,
    ):
        assert response.status == 200
        got = {name.lower() for name in response.headers}
    allowed = {"host", "content-type", "accept", "accept-encoding", "content-length", "connection"}
    [sent] = noted
    assert set(sent) <= allowed, set(sent) - allowed
    assert up.key not in json.dumps(sent)
    ours = {"content-type", "content-length", "x-changeover-request-id", "x-changeover-route"}
    assert got == ours | {"x-changeover-deployment", "x-changeover-bundle"}


async def test_an_engine_that_sends_its_caller_elsewhere_is_not_followed(
    up: Running, seen: tuple[str, list[dict[str, str]]]
) -> None:
    address, _ = seen
    deploy_echo(up.installation, "other")
    await answered_by(up, "moved", f"{address}/moved")
    async with aiohttp.ClientSession(up.address, headers=up.headers()) as http:
        body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
        async with http.post(CHAT, json=body) as response:
            assert response.status == 200, "the former incumbent answers in its place"
            assert response.headers["x-changeover-deployment"] == "echo"


@pytest.mark.parametrize("text", ["'; DROP TABLE exchanges; --", '" OR ""="', "%00", "\\'); DELETE FROM keys;--"])
async def test_sql_in_any_text_is_text(up: Running, text: str) -> None:
    body = {"model": "echo", "user": text, "messages": [{"role": "user", "content": text, "name": text}]}
    async with aiohttp.ClientSession(up.address, headers=up.headers()) as http:
        async with http.post(CHAT, json={**body, "model": text}) as response:
            assert response.status == 404
        async with http.post(CHAT, json=body) as response:
            assert (await response.json())["choices"][0]["message"]["content"] == text
        async with asyncio.timeout(10):
            while True:
                with up.installation.store.read() as connection:
                    rows = recent_exchanges(connection, "echo")
                if rows:
                    break
                await asyncio.sleep(0.05)
    assert text in json.loads(rows[0].request or "")["user"]
