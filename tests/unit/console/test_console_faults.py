"""A fault of the console's own: a page that says so, and nothing of what it was."""

from __future__ import annotations

import httpx2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from changeover.console.app import console
from changeover.console.desk import always
from changeover.console.guards import HEADERS


async def faulty(request: Request) -> Response:
    raise RuntimeError(f"a secret of {request.url}")


async def test_a_fault_is_a_page_with_the_strict_headers_and_without_its_cause() -> None:
    app = console(always("http://127.0.0.1:9"), hosts=("console.test",), most_body_bytes=1_000)
    app.router.routes.append(Route("/faulty", faulty))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://console.test") as client:
        answer = await client.get("/faulty")
    assert answer.status_code == 500
    assert "Something is broken here" in answer.text
    assert "secret" not in answer.text
    assert {name: answer.headers[name] for name in HEADERS} == dict(HEADERS)
