"""What is read of ModelScope through its own client, against a server on this machine that speaks its routes."""

import json
import logging
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from changeover.core.errors import SourceError
from changeover.core.settings import SourceSettings
from changeover.library.cards import Card
from changeover.library.facts import FactSource
from changeover.library.sources import modelscope
from changeover.library.sources.reading import Reading

TODAY = date(2026, 11, 30)
TOKEN = "ms-canary-91c2de77f0"
MODEL = {
    "id": "Acme/one-1b",
    "downloads": 512,
    "likes": 7,
    "license": "Apache License 2.0",
    "last_modified": "2026-10-02T08:00:00Z",
    "private": False,
}


@dataclass
class Scope:
    """What the server answers, and what it was asked."""

    address: str = ""
    status: int = 200
    body: bytes = json.dumps({"success": True, "data": MODEL}).encode()
    headers: dict[str, str] = field(default_factory=dict[str, str])
    stall_s: float = 0
    asked: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])


@contextmanager
def scope() -> Generator[Scope]:
    seen = Scope()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.asked.append((self.path, self.headers.get("authorization")))
            time.sleep(seen.stall_s)
            known = self.path == "/openapi/v1/models/Acme/one-1b"
            self.send_response(seen.status if known else 404)
            for name, value in {"Content-Length": str(len(seen.body)), **seen.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(seen.body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    seen.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def card(id: str = "one-1b", repository: str = "Acme/one-1b") -> Card:
    source = FactSource(facts=("everything",), at="here", grade="vendor", checked=TODAY)
    return Card(id=id, display_name=id, family="one", vendor="Acme", modelscope=(repository,), sources=(source,))


def read(server: Scope, *cards: Card, timeout_s: float = 5) -> Reading:
    settings = SourceSettings(online=True, modelscope_endpoint=server.address, timeout_s=timeout_s)
    return modelscope.read(cards or (card(),), settings, TODAY)


def test_counts_of_modelscope_stand_apart_from_those_of_the_hub() -> None:
    with scope() as server:
        [row] = read(server).rows
    assert {said.fact: said.value for said in row.said} == {
        "modelscope.downloads": 512,
        "modelscope.likes": 7,
        "modelscope.changed": "2026-10-02",
        "licence.id": "Apache License 2.0",
    }
    assert row.card == "one-1b"


def test_a_repository_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with scope() as server:
        reading = read(server, card(), card("gone", "Acme/gone"))
        assert reading.notes == ("`gone`: ModelScope shows no repository `Acme/gone`",)
        assert len(reading.rows) == 1
        with pytest.raises(SourceError, match="shows none of 1 repositories"):
            read(server, card("gone", "Acme/gone"))


@pytest.mark.parametrize("body", [b'{"data": {"downloads": "many"}}', b'{"data": {"likes": -1}}', b"<html>", b"7"])
def test_nonsense_is_refused(body: bytes) -> None:
    with scope() as server:
        server.body = body
        with pytest.raises(SourceError, match=r"Acme/one-1b.*Nothing was written"):
            read(server)


def test_a_server_that_asks_to_wait_for_an_hour_is_given_up() -> None:
    with scope() as server:
        server.status, server.headers = 429, {"Retry-After": "3600"}
        with pytest.raises(SourceError, match="no answer within 1 s"):
            read(server, timeout_s=0.2)


def test_the_token_is_in_no_error_and_no_log_and_nothing_is_left_at_home(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(modelscope.TOKEN_VARIABLE, TOKEN)
    with scope() as server:
        read(server)
        assert server.asked[0][1] == f"Bearer {TOKEN}"
        server.status, server.body = 403, json.dumps({"message": f"bad {TOKEN}"}).encode()
        with pytest.raises(SourceError) as refused:
            read(server)
    assert TOKEN not in refused.value.message
    assert TOKEN not in caplog.text
    assert list(tmp_path.iterdir()) == []
