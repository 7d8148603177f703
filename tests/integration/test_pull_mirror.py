"""Pulling from a plain web server on this machine: ranges, changed files, and redirects that are not followed."""

from __future__ import annotations

import hashlib
import random
import re
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support.checkpoints import checkpoint, pinned
from tests.unit.library.gguf_builder import build

from changeover.core.errors import ArtifactError
from changeover.core.settings import SourceSettings
from changeover.library.artifacts import Artifact, MirrorSource
from changeover.library.fetch.access import Access, Patience
from changeover.library.pull import Silent, present, pull

CONTENT = build(weights=random.Random(3).randbytes(400_000))
OTHER = build(weights=random.Random(4).randbytes(400_000))
ACCESS = Access(sources=SourceSettings(timeout_s=2), patience=Patience(tries=3, first_wait_s=0.01))


@dataclass
class Mirror:
    """Files by path, served as a plain web server does it: ETag, Range, If-Range."""

    files: dict[str, bytes]
    address: str = ""
    cut_after: int | None = None
    chunked_extra: bytes | None = None
    """Sent behind a body whose length is not announced."""
    redirects: dict[str, str] = field(default_factory=dict[str, str])
    weak: bool = False
    piece: int = 1 << 40
    """Bytes of a range that are given at once: a server may send less than was asked for."""
    after_cut: Callable[[], None] | None = None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list[tuple[str, dict[str, str]]])

    def etag(self, data: bytes) -> str:
        return ("W/" if self.weak else "") + f'"{hashlib.md5(data).hexdigest()}"'


def _handler(mirror: Mirror) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            mirror.asked.append((self.path, headers))
            if self.path in mirror.redirects:
                return self._answer(302, b"", Location=mirror.redirects[self.path])
            if self.path not in mirror.files:
                return self._answer(404, b"")
            data = mirror.files[self.path]
            match = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
            if match is None or headers.get("if-range", mirror.etag(data)) != mirror.etag(data):
                return self._answer(200, data, ETag=mirror.etag(data))
            begun, end = int(match[1]), min(len(data), int(match[1]) + mirror.piece) - 1
            return self._answer(
                206,
                data[begun : end + 1],
                ETag=mirror.etag(data),
                **{"Content-Range": f"bytes {begun}-{end}/{len(data)}"},
            )

        def _answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if mirror.chunked_extra is not None:
                self.send_header("Connection", "close")
                body += mirror.chunked_extra
            else:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if mirror.cut_after is not None and status < 300:
                self.wfile.write(body[: mirror.cut_after])
                self.close_connection, mirror.cut_after = True, None
                if mirror.after_cut is not None:
                    mirror.after_cut()
                return
            try:
                self.wfile.write(body)
            except ConnectionError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def mirror() -> Generator[Mirror]:
    mirror = Mirror({"/m/tiny.gguf": CONTENT})
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(mirror)) as server:
        server.daemon_threads = True
        mirror.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield mirror
        server.shutdown()
        thread.join()


def wanted(mirror: Mirror, path: str = "/m/tiny.gguf") -> Artifact:
    sources = (MirrorSource(url=f"{mirror.address}{path}"),)
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Artifact(format="gguf", quantisation="Q8_0", size_bytes=len(CONTENT), sha256=digest, sources=sources)


def refusal(artifact: Artifact, cache: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        pull(artifact, cache, Silent(), ACCESS)
    assert "\n" not in caught.value.message
    assert not present(artifact, cache)
    return caught.value.message


def test_a_mirror_is_asked_without_being_online_and_goes_on_where_it_was_cut(mirror: Mirror, tmp_path: Path) -> None:
    mirror.cut_after = 100_000
    assert pull(wanted(mirror), tmp_path, Silent(), ACCESS).read_bytes() == CONTENT
    ranges = [headers.get("range") for _, headers in mirror.asked]
    assert ranges == [None, "bytes=100000-"]
    assert mirror.asked[1][1]["if-range"] == mirror.etag(CONTENT)


def test_a_mirror_that_gives_ranges_in_pieces_is_asked_until_all_is_there(mirror: Mirror, tmp_path: Path) -> None:
    mirror.cut_after, mirror.piece = 100_000, 100_000
    patient = replace(ACCESS, patience=replace(ACCESS.patience, fresh_bytes=50_000))
    assert pull(wanted(mirror), tmp_path, Silent(), patient).read_bytes() == CONTENT
    begun = [headers.get("range") for _, headers in mirror.asked]
    assert begun == [None, *(f"bytes={place}-" for place in range(100_000, len(CONTENT), 100_000))]


def test_several_files_lie_below_the_address(mirror: Mirror, tmp_path: Path) -> None:
    files = checkpoint(100, **{"tokenizer/merges and more.txt": b"a b\n"})
    mirror.files = {f"/models/tiny/{name.replace(' ', '%20')}": data for name, data in files.items()}
    artifact = pinned(files, MirrorSource(url=f"{mirror.address}/models/tiny/"))
    directory = pull(artifact, tmp_path, Silent(), ACCESS)
    assert {
        str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()
    } == files


def test_a_file_that_changed_begins_anew_and_is_refused_by_its_digest(mirror: Mirror, tmp_path: Path) -> None:
    mirror.cut_after = 100_000
    mirror.after_cut = lambda: mirror.files.update({"/m/tiny.gguf": OTHER})
    assert "the card says" in refusal(wanted(mirror), tmp_path)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["pull.lock"]


def test_a_weak_etag_is_not_relied_on(mirror: Mirror, tmp_path: Path) -> None:
    mirror.weak, mirror.cut_after = True, 100_000
    assert pull(wanted(mirror), tmp_path, Silent(), ACCESS).read_bytes() == CONTENT
    assert "if-range" not in mirror.asked[1][1]


@pytest.mark.parametrize(
    ("extra", "says"), [(b"!" * 100_000, f"sends more than the `{len(CONTENT)}` bytes"), (b"", None)]
)
def test_a_body_of_no_announced_length_is_read_to_the_known_one(
    mirror: Mirror, tmp_path: Path, extra: bytes, says: str | None
) -> None:
    mirror.chunked_extra = extra
    if says is None:
        assert pull(wanted(mirror), tmp_path, Silent(), ACCESS).read_bytes() == CONTENT
    else:
        assert says in refusal(wanted(mirror), tmp_path)
        assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["pull.lock"]


def test_a_redirect_on_the_same_host_is_followed(mirror: Mirror, tmp_path: Path) -> None:
    mirror.redirects["/old.gguf"] = "/m/tiny.gguf"
    assert pull(wanted(mirror, "/old.gguf"), tmp_path, Silent(), ACCESS).read_bytes() == CONTENT


@pytest.mark.parametrize("elsewhere", ["http://localhost:{port}", "http://127.0.0.1:1", "https://127.0.0.1:{port}"])
def test_a_redirect_to_another_host_or_port_is_not_followed(mirror: Mirror, tmp_path: Path, elsewhere: str) -> None:
    port = mirror.address.rpartition(":")[2]
    mirror.redirects["/old.gguf"] = f"{elsewhere.format(port=port)}/m/tiny.gguf"
    assert "redirects `old.gguf` to another host or port, which is not followed" in refusal(
        wanted(mirror, "/old.gguf"), tmp_path
    )
    assert [path for path, _ in mirror.asked] == ["/old.gguf"]


def test_a_file_that_is_not_there_is_said(mirror: Mirror, tmp_path: Path) -> None:
    message = refusal(wanted(mirror, "/m/other.gguf"), tmp_path)
    assert f"The mirror `{mirror.address.removeprefix('http://')}` does not have `other.gguf` (404)" in message


def test_a_mirror_gets_no_credentials(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_a-secret-token")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret-of-netrc\n")
    monkeypatch.setenv("NETRC", str(netrc))
    pull(wanted(mirror), tmp_path / "cache", Silent(), ACCESS)
    assert all("authorization" not in headers and "cookie" not in headers for _, headers in mirror.asked)
