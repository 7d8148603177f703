"""A job that is sent while its sender is cancelled: it is taken back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.support.loopback import OK, Loopback, whole

from changeover.client import AsyncClient

JOB = msgspec.json.encode(
    {
        "object": "tool.job",
        "id": "job_1",
        "tool": "say",
        "state": "waiting",
        "progress": None,
        "created_at": "2026-12-01T00:00:00Z",
        "started_at": None,
        "ended_at": None,
        "expires_at": "2026-12-02T00:00:00Z",
    }
)
REFUSED = (
    b'{"error": {"message": "128 jobs are waiting already.", "type": "rate_limit_error", "code": "over_capacity"}}'
)


@pytest.fixture
async def server() -> AsyncIterator[Loopback]:
    server = Loopback()
    yield server
    await server.stop()


@pytest.mark.parametrize("accepted", [True, False])
async def test_who_is_cancelled_while_a_job_is_sent_leaves_none_behind(server: Loopback, accepted: bool) -> None:
    answered = asyncio.Event()

    async def act(request: bytes, writer: asyncio.StreamWriter) -> None:
        if request.startswith(b"POST "):
            await answered.wait()
        head = OK if accepted else OK.replace(b"200 OK", b"429 Too Many Requests")
        writer.write(whole(JOB if accepted else REFUSED, head))

    server.will(act)
    async with AsyncClient(await server.start(), "key") as client:
        sending = asyncio.create_task(client.submit("say", text="hello"))
        await server.asked.wait()
        sending.cancel()
        await asyncio.sleep(0)
        answered.set()
        with pytest.raises(asyncio.CancelledError):
            await sending
    asked = [request.split(b" HTTP")[0] for request in server.requests]
    assert asked == [b"POST /v1/tools/say?as=job", *([b"DELETE /v1/jobs/job_1"] if accepted else [])]
