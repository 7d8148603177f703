"""The door as an ASGI application, with a part of the system broken on purpose."""

import json
from pathlib import Path
from typing import Any

from tests.support.projects import open_written, write_project

from changeover.app.prepare import first_keys
from changeover.core.settings import GatewaySettings
from changeover.gateway.door import Door
from changeover.gateway.keys import Keyring
from changeover.gateway.record import Recorder
from changeover.gateway.snapshot import Snapshots
from changeover.serving.upstream import Upstream
from changeover.tasks.queries import recent_exchanges


class BrokenFleet:
    """Has a bug."""

    def upstream(self, name: str) -> Upstream | None:
        raise RuntimeError(f"a bug that met {name}")


async def test_a_bug_of_ours_is_an_envelope_that_names_the_gateway_and_tells_no_inner_word(tmp_path: Path) -> None:
    installation = open_written(write_project(tmp_path / "p"))
    key = first_keys(installation)
    keyring, recorder = Keyring(), Recorder(installation.store)
    snapshots = Snapshots(installation.store, installation.tasks)
    keyring.reload(installation.store)
    snapshots.refresh()
    door = Door(
        settings=GatewaySettings(),
        snapshots=snapshots,
        keyring=keyring,
        fleet=BrokenFleet(),
        recorder=recorder,
        clock=installation.clock,
    )
    status, error = await post(door, key or "", {"model": "echo", "messages": [{"role": "user", "content": "hi"}]})
    assert status == 500
    assert (error["code"], error["source"]) == ("internal_error", "gateway")
    assert error["request_id"] in error["message"]
    assert "a bug that met" not in json.dumps(error)
    await recorder.flush()
    with installation.store.read() as connection:
        [row] = recent_exchanges(connection, "echo")
    assert (row.status, row.error) == (500, "internal_error")
    installation.store.close()


async def post(door: Door, key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Send one request and give back status and error."""
    waiting = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": [(b"authorization", f"Bearer {key}".encode())],
    }
    await door(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])["error"]
