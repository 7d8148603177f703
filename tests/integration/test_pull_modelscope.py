"""Pulling from ModelScope through its own client, against its routes on this machine."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.support.checkpoints import SHARDS, checkpoint, pinned

from changeover.core.errors import ArtifactError
from changeover.core.settings import SourceSettings
from changeover.library.artifacts import Artifact, HubSource
from changeover.library.fetch.access import Access
from changeover.library.pull import Silent, module_of, present, pull

pytest.importorskip("modelscope_hub")

REVISION = "c" * 40
FILES = checkpoint(elements=2_000)


@dataclass
class Scope:
    address: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    cut_after: int | None = None
    asked: list[tuple[str, str | None, int]] = field(default_factory=list[tuple[str, "str | None", int]])
    """File, range and bytes sent."""


def _handler(scope: Scope) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            split = urlsplit(self.path)
            query = parse_qs(split.query)
            if split.path == "/api/v1/models/maker/tiny/repo/files":
                entries = [
                    {"Path": name, "Size": len(data), "Sha256": hashlib.sha256(data).hexdigest(), "Type": "blob"}
                    for name, data in scope.files.items()
                ]
                return self._send(200, json.dumps({"Code": 200, "Data": {"Files": entries}}).encode())
            name = query.get("FilePath", [""])[0]
            if split.path != "/api/v1/models/maker/tiny/repo" or name not in scope.files:
                return self._send(404, b'{"Code": 404}')
            data, wanted = scope.files[name], self.headers.get("Range")
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
            begun = int(match[1]) if match else 0
            end = int(match[2]) if match and match[2] else len(data) - 1
            body = data[begun : end + 1]
            cut, scope.cut_after = scope.cut_after, None
            scope.asked.append((name, wanted, len(body[:cut])))
            ranged = {"Content-Range": f"bytes {begun}-{end}/{len(data)}"} if match else {}
            return self._send(206 if match else 200, body, cut, **ranged)

        do_HEAD = do_GET

        def _send(self, status: int, body: bytes, cut: int | None = None, **headers: str) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[:cut])
            self.close_connection = cut is not None

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Scope]:
    scope = Scope()
    monkeypatch.setenv("MODELSCOPE_INTRA_CLOUD_ACCELERATION", "false")
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(scope)) as server:
        server.daemon_threads = True
        scope.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield scope
        server.shutdown()
        thread.join()


def access(scope: Scope, *, online: bool = True) -> Access:
    return Access(sources=SourceSettings(online=online, modelscope_endpoint=scope.address, timeout_s=5))


def wanted() -> Artifact:
    return pinned(FILES, HubSource(repository="maker/tiny", revision=REVISION, hub="modelscope"))


def test_a_checkpoint_comes_through_the_hubs_own_client(scope: Scope, tmp_path: Path) -> None:
    directory = pull(wanted(), tmp_path, Silent(), access(scope))
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == FILES


def test_a_cut_connection_is_gone_on_with(scope: Scope, tmp_path: Path) -> None:
    scope.cut_after = 100
    pull(wanted(), tmp_path, Silent(), access(scope))
    first = next(iter(FILES))
    assert sum(sent for name, _, sent in scope.asked if name == first) == len(FILES[first])


def test_a_wrong_file_keeps_nothing_of_it(scope: Scope, tmp_path: Path) -> None:
    scope.files[SHARDS[0]] = bytes(len(FILES[SHARDS[0]]))
    with pytest.raises(ArtifactError, match=rf"ModelScope sends another `{SHARDS[0]}` of `maker/tiny` than is known"):
        pull(wanted(), tmp_path, Silent(), access(scope))
    assert not present(wanted(), tmp_path)
    assert not list(tmp_path.rglob(f"*{SHARDS[0]}*"))


def test_a_file_that_is_not_there_is_said(scope: Scope, tmp_path: Path) -> None:
    del scope.files["config.json"]
    with pytest.raises(ArtifactError, match=r"ModelScope has no `config\.json` of `maker/tiny` at that revision"):
        pull(wanted(), tmp_path, Silent(), access(scope))


def test_offline_it_is_not_asked(scope: Scope, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="this project is offline"):
        pull(wanted(), tmp_path, Silent(), access(scope, online=False))
    assert scope.asked == []


def test_its_list_of_files_has_every_digest(scope: Scope) -> None:
    listing = module_of("modelscope").list_files("maker/tiny", REVISION, access(scope))
    assert {file.path: file.sha256 for file in listing.files} == {
        name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()
    }


def test_without_its_client_the_extra_is_named(scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "changeover.library.fetch.modelscope", raising=False)
    monkeypatch.setitem(sys.modules, "modelscope_hub", None)
    with pytest.raises(ArtifactError, match=r"needs an extra\. Install `changeover\[modelscope\]` and pull again"):
        pull(wanted(), tmp_path, Silent(), access(scope))
