"""The door itself, with a part of the system broken on purpose."""

import json
from pathlib import Path
from typing import Any

from tests.support.projects import open_written, write_project

from changeover.app.gateway import Gateway
from changeover.app.prepare import first_keys
from changeover.gateway.door import Door
from changeover.gateway.http import Head, Headers
from changeover.serving.upstream import Upstream
from changeover.tasks.queries import recent_exchanges


class BrokenFleet:
    """Has a bug."""

    def upstream(self, name: str) -> Upstream | None:
        raise RuntimeError(f"a bug that met {name}")

    def is_ready(self, name: str) -> bool:
        raise RuntimeError(f"a bug that met {name}")

    def wake(self, name: str) -> bool:
        raise RuntimeError(f"a bug that met {name}")


async def test_a_bug_of_ours_is_an_envelope_that_names_the_gateway_and_tells_no_inner_word(tmp_path: Path) -> None:
    installation = open_written(write_project(tmp_path / "p"))
    key = first_keys(installation)
    gateway = Gateway(installation, BrokenFleet())
    await gateway.load()
    door = gateway.door
    status, error = await post(door, key or "", {"model": "echo", "messages": [{"role": "user", "content": "hi"}]})
    assert status == 500
    assert (error["code"], error["source"]) == ("internal_error", "gateway")
    assert error["request_id"] in error["message"]
    assert "a bug that met" not in json.dumps(error)
    await gateway.close()
    with installation.store.read() as connection:
        [row] = recent_exchanges(connection, "echo")
    assert (row.status, row.error) == (500, "internal_error")
    installation.store.close()


class Heard:
    """A reply that somebody keeps."""

    status = 0
    body = b""

    def whole(self, status: int, headers: Headers, body: bytes) -> None:
        self.status, self.body = status, body


async def post(door: Door, key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Send one request and give back status and error."""
    headers = [(b"authorization", f"Bearer {key}".encode())]
    reply: Any = Heard()
    await door.answer(door.begin(Head("POST", "/v1/chat/completions", headers)), json.dumps(body).encode(), reply)
    return reply.status, json.loads(reply.body)["error"]
