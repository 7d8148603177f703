"""A hub on this machine: repositories with files at commits, the Hub's routes to them, and the faults that a test asks for.

It speaks what `huggingface_hub` and engines ask of the Hub: model lists with `Link: rel="next"`, one model, commits, trees,
refs, discussions, and files by `/{id}/resolve/{revision}/{file}` with ETag, ranges and the commit in a header. Large files are
redirected to an address of another origin, as the Hub does it. Everything that was asked is kept.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

LARGE = (".safetensors", ".gguf", ".bin", ".pt")
"""Endings of files that the Hub keeps outside of git."""
EXPANDED_ONLY = ("downloadsAllTime", "childrenModelCount", "baseModels", "inferenceProviderMapping")
"""Properties that the Hub gives only when they are asked for by name."""


@dataclass
class Request:
    """What somebody asked."""

    method: str
    path: str
    """With its query."""
    headers: dict[str, str]
    """By lower-case names."""
    elsewhere: bool = False
    """Asked at the address that large files are redirected to."""
    status: int = 0
    sent: int = 0
    """Bytes of the body that went out."""


@dataclass
class Fault:
    """What the hub does instead of an answer, or to it."""

    status: int | None = None
    """Answer with this status and `body`."""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Sent besides, or in place of, those of the answer."""
    cut_after: int | None = None
    """Announce the whole answer, send so many bytes of its body, and close the connection."""
    flip: int | None = None
    """Change the byte at this place of the body."""
    stall_s: float = 0.0
    """Be silent so long before the answer."""
    drip_s: float = 0.0
    """Send the body byte by byte, with this pause after each."""
    drop: bool = False
    """Close the connection without a word."""


@dataclass
class _Planned:
    pattern: re.Pattern[str]
    fault: Fault
    times: int
    skip: int


@dataclass
class Discussion:
    """A thread of a repository."""

    title: str
    created_at: str
    status: str = "open"
    replies: Sequence[tuple[str, str]] = ()
    """Author and moment of each comment after the first."""
    author: str = "asker"
    is_pull_request: bool = False


@dataclass
class Repository:
    """A model's repository: files by commit, and what the Hub says of it."""

    id: str
    commits: dict[str, dict[str, bytes]]
    """Newest last."""
    refs: dict[str, str]
    """Commits by branch or tag."""
    facts: dict[str, Any]
    """Further keys of `/api/models/{id}`, by the Hub's names."""
    discussions: list[Discussion] = field(default_factory=list[Discussion])
    dates: dict[str, str] = field(default_factory=dict[str, str])
    """Moments of the commits."""
    secret: bool = False
    """Answers 401 to who has no token."""
    gated: bool = False
    """Gives its facts to everybody, and its files to who has the token."""

    @property
    def head(self) -> str:
        """The newest commit."""
        return self.refs["main"]

    def commit_of(self, revision: str) -> str | None:
        """The commit that a branch, a tag or a commit is."""
        commit = self.refs.get(revision, revision)
        return commit if commit in self.commits else None

    def commit(self, files: Mapping[str, bytes], *, at: str = "2026-10-01T00:00:00.000Z") -> str:
        """Add a commit with these files in place of those of the last one; gives its id."""
        lines = "".join(f"{name} {hashlib.sha1(data).hexdigest()}\n" for name, data in sorted(files.items()))
        commit = hashlib.sha1(f"{self.id} {len(self.commits)} {lines}".encode()).hexdigest()
        self.commits[commit], self.refs["main"], self.dates[commit] = dict(files), commit, at
        return commit


class FakeHub:
    """A hub's content, its plans to fail, and what it was asked."""

    def __init__(self) -> None:
        self.address = ""
        self.elsewhere = ""
        """Where large files are redirected to: another host name, so another origin."""
        self.token: str | None = None
        """The token that opens what is secret or gated."""
        self.page_size = 100
        self.redirect_large = True
        self.ignore_ranges = False
        """Answer a range with the whole file and 200."""
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self._plans: list[_Planned] = []
        self._lock = threading.Lock()
        self._large: dict[str, bytes] = {}

    def add(
        self,
        repository: str,
        files: Mapping[str, bytes] | None = None,
        *,
        at: str = "2026-10-01T00:00:00.000Z",
        **facts: Any,
    ) -> Repository:
        """Add a repository with one commit; `facts` are keys of `/api/models/{id}` by the Hub's names (`downloads`, `likes`)."""
        added = Repository(repository, {}, {}, dict(facts))
        added.commit(files or {"README.md": b"# a model\n"}, at=at)
        self.repositories[repository] = added
        return added

    def derive(self, parent: str, relation: str, count: int) -> None:
        """Add models that name `parent` as their base: `finetune`, `adapter`, `merge` or `quantized`."""
        for number in range(count):
            self.add(f"somebody/{parent.split('/')[-1]}-{relation}-{number}", tags=[f"base_model:{relation}:{parent}"])

    def fail(self, pattern: str, fault: Fault, *, times: int = 1, skip: int = 0) -> None:
        """Do this to the next `times` requests whose method and path hold the pattern, after `skip` that go well."""
        self._plans.append(_Planned(re.compile(pattern), fault, times, skip))

    def asked(self, pattern: str) -> list[Request]:
        """The requests so far whose method and path hold the pattern."""
        return [each for each in self.requests if re.search(pattern, f"{each.method} {each.path}")]

    @property
    def bytes_sent(self) -> int:
        """Of all bodies so far."""
        return sum(request.sent for request in self.requests)

    def fault_for(self, request: Request) -> Fault | None:
        """Take the plan that this request meets."""
        with self._lock:
            self.requests.append(request)
            for plan in self._plans:
                if plan.times > 0 and plan.pattern.search(f"{request.method} {request.path}"):
                    if plan.skip > 0:
                        plan.skip -= 1
                        continue
                    plan.times -= 1
                    return plan.fault
        return None

    def large(self, sha256: str) -> bytes | None:
        """A file that lies outside of git, by its digest."""
        return self._large.get(sha256)

    def keep_large(self, data: bytes) -> str:
        """Lay a file where large ones are; gives its digest."""
        sha256 = hashlib.sha256(data).hexdigest()
        self._large[sha256] = data
        return sha256


@dataclass
class Answer:
    """What goes out."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict[str, str])


def blob_id(data: bytes) -> str:
    """The id that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(name: str) -> bool:
    """Whether the Hub keeps a file outside of git."""
    return name.endswith(LARGE)


def _json(value: Any, **headers: str) -> Answer:
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8", **headers})


def _error(status: int, code: str, message: str) -> Answer:
    body = json.dumps({"error": message}).encode()
    return Answer(status, body, {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"})


def _model(found: Repository, commit: str, query: Mapping[str, list[str]]) -> dict[str, Any]:
    """One model as `/api/models/{id}` says it; with `expand` only what is asked for."""
    blobs = query.get("blobs", ["false"])[0].lower() == "true"
    whole: dict[str, Any] = {
        "_id": hashlib.sha1(found.id.encode()).hexdigest()[:24],
        "id": found.id,
        "modelId": found.id,
        "author": found.id.split("/")[0],
        "sha": commit,
        "lastModified": found.dates[commit],
        "createdAt": next(iter(found.dates.values())),
        "private": False,
        "gated": "manual" if found.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [
            {"rfilename": name}
            | ({"size": len(data), "blobId": blob_id(data)} if blobs else {})
            | ({"lfs": _lfs(data)} if blobs and is_large(name) else {})
            for name, data in found.commits[commit].items()
        ],
        **found.facts,
    }
    wanted = [*query.get("expand", []), *query.get("expand[]", [])]
    if wanted:
        return {key: value for key, value in whole.items() if key in ("_id", "id", "modelId", *wanted)}
    return {key: value for key, value in whole.items() if key not in EXPANDED_ONLY}


def _lfs(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}


def _tree(found: Repository, commit: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for name, data in sorted(found.commits[commit].items()):
        entry: dict[str, Any] = {"type": "file", "oid": blob_id(data), "size": len(data), "path": name}
        if is_large(name):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        entries.append(entry)
    return entries


def _thread(found: Repository, number: int) -> dict[str, Any]:
    one = found.discussions[number - 1]
    return {
        "num": number,
        "title": one.title,
        "author": {"name": one.author, "type": "user"},
        "createdAt": one.created_at,
        "status": one.status,
        "isPullRequest": one.is_pull_request,
        "numComments": len(one.replies) + 1,
        "repo": {"name": found.id, "type": "model"},
    }


def _events(one: Discussion) -> list[dict[str, Any]]:
    said = [(one.author, one.created_at), *one.replies]
    return [
        {
            "id": f"{index:024x}",
            "type": "comment",
            "author": {"name": author},
            "createdAt": at,
            "data": {"edited": False, "hidden": False, "latest": {"raw": "words"}},
        }
        for index, (author, at) in enumerate(said)
    ]


class Routes:
    """The Hub's routes over a hub's content."""

    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    def answer(self, request: Request, body: bytes) -> Answer:
        """What the hub says to a request."""
        split = urlsplit(request.path)
        path, query = unquote(split.path), parse_qs(split.query)
        if path == "/api/models":
            return self._list(split.path, query)
        if path.startswith("/api/models/"):
            return self._api(path.removeprefix("/api/models/"), query, request, body)
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            repository, revision, name = match.groups()
            return self._resolve(repository, revision, name, request)
        return _error(404, "NotFound", "Sorry, we can't find the page you are looking for.")

    def _list(self, path: str, query: dict[str, list[str]]) -> Answer:
        tags = [tag for value in query.get("filter", []) for tag in value.split(",")]
        author = query.get("author", [None])[0]
        found = [
            each
            for each in self._hub.repositories.values()
            if all(tag in each.facts.get("tags", ()) for tag in tags) and author in (None, each.id.split("/")[0])
        ]
        size = min(int(query.get("limit", [self._hub.page_size])[0]), self._hub.page_size)
        start = int(query.get("cursor", ["0"])[0])
        page = [_model(each, each.head, query) for each in found[start : start + size]]
        if start + size >= len(found):
            return _json(page)
        kept = "&".join(f"{quote(k)}={quote(v)}" for k, values in query.items() if k != "cursor" for v in values)
        link = f'<{self._hub.address}{path}?{kept}&cursor={start + size}>; rel="next"'
        return _json(page, Link=link)

    def _api(self, rest: str, query: dict[str, list[str]], request: Request, body: bytes) -> Answer:
        parts = rest.split("/")
        found = self._hub.repositories.get("/".join(parts[:2]))
        if found is None or (found.secret and not self._has_token(request)):
            return self._absent(request)
        match parts[2:]:
            case []:
                return _json(_model(found, found.head, query))
            case ["revision" | "commits" | "tree" | "paths-info" as kind, revision, *_]:
                commit = found.commit_of(revision)
                if commit is None:
                    return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
                return self._at(kind, found, commit, query, body)
            case ["refs"]:
                heads = [
                    {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
                    for name, commit in found.refs.items()
                ]
                return _json({"branches": heads, "tags": [], "converts": []})
            case ["discussions"]:
                return self._discussions(found, query)
            case ["discussions", number] if number.isdigit() and 0 < int(number) <= len(found.discussions):
                number = int(number)
                return _json({**_thread(found, number), "events": _events(found.discussions[number - 1])})
            case _:
                return _error(404, "NotFound", "Not found")

    def _at(self, kind: str, found: Repository, commit: str, query: dict[str, list[str]], body: bytes) -> Answer:
        if kind == "revision":
            return _json(_model(found, commit, query))
        if kind == "tree":
            return _json(_tree(found, commit))
        if kind == "paths-info":
            wanted = parse_qs(body.decode()).get("paths", [])
            return _json([entry for entry in _tree(found, commit) if entry["path"] in wanted])
        listed = list(found.commits)
        newest_first = listed[: listed.index(commit) + 1][::-1]
        page, size = int(query.get("p", ["0"])[0]), self._hub.page_size
        rows = [
            {
                "id": each,
                "title": "a commit",
                "message": "",
                "authors": [{"user": "owner"}],
                "date": found.dates[each],
            }
            for each in newest_first[page * size : (page + 1) * size]
        ]
        if (page + 1) * size >= len(newest_first):
            return _json(rows)
        link = f'<{self._hub.address}/api/models/{found.id}/commits/{commit}?p={page + 1}>; rel="next"'
        return _json(rows, Link=link)

    def _discussions(self, found: Repository, query: dict[str, list[str]]) -> Answer:
        status = query.get("status", [None])[0]
        kind = query.get("type", [None])[0]
        wanted = [
            number
            for number, one in enumerate(found.discussions, start=1)
            if status in (None, "all", one.status) and kind in (None, "all", _kind(one))
        ][::-1]
        page, size = int(query.get("p", ["0"])[0]), self._hub.page_size
        rows = [_thread(found, number) for number in wanted[page * size : (page + 1) * size]]
        closed = sum(one.status != "open" for one in found.discussions)
        return _json({"discussions": rows, "count": len(wanted), "start": page * size, "numClosedDiscussions": closed})

    def _resolve(self, repository: str, revision: str, name: str, request: Request) -> Answer:
        found = self._hub.repositories.get(repository)
        if found is None or (found.secret and not self._has_token(request)):
            return self._absent(request)
        if found.gated and not self._has_token(request):
            status = 403 if "authorization" in request.headers else 401
            return _error(status, "GatedRepo", f"Access to model {repository} is restricted.")
        commit = found.commit_of(revision)
        if commit is None:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        data = found.commits[commit].get(name)
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if data is None:
            missing = _error(404, "EntryNotFound", "Entry not found")
            return Answer(404, missing.body, {**missing.headers, **headers})
        if not is_large(name):
            return self.ranged(data, request, {**headers, "ETag": f'"{blob_id(data)}"'})
        sha256 = self._hub.keep_large(data)
        headers |= {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{sha256}"', "ETag": f'"{sha256}"'}
        if self._hub.redirect_large:
            return Answer(302, b"", {**headers, "Location": f"{self._hub.elsewhere}/large/{sha256}?signature=abc"})
        return self.ranged(data, request, headers)

    def ranged(self, data: bytes, request: Request, headers: dict[str, str]) -> Answer:
        """A file, or the part of it that is asked for."""
        headers = {"Content-Type": "application/octet-stream", **headers}
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
        if match is None or self._hub.ignore_ranges or match.groups() == ("", ""):
            return Answer(200, data, headers)
        first, last = match.groups()
        start = int(first) if first else max(len(data) - int(last), 0)
        end = min(int(last), len(data) - 1) if first and last else len(data) - 1
        if start >= len(data):
            return Answer(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
        return Answer(206, data[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(data)}"})

    def _has_token(self, request: Request) -> bool:
        return self._hub.token is not None and request.headers.get("authorization") == f"Bearer {self._hub.token}"

    def _absent(self, request: Request) -> Answer:
        # The Hub answers 401 to strangers, so that nobody can tell what is private from what is not there.
        if "authorization" in request.headers:
            return _error(404, "RepoNotFound", "Repository not found")
        return _error(401, "RepoNotFound", "Invalid username or password.")


def _kind(one: Discussion) -> str:
    return "pull_request" if one.is_pull_request else "discussion"


def _handler(hub: FakeHub, *, elsewhere: bool) -> type[BaseHTTPRequestHandler]:
    routes = Routes(hub)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        """Head and body go out as two writes; together with delayed acknowledgements that would be 40 ms for each."""

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, elsewhere)
            body = self.rfile.read(int(headers.get("content-length", 0)))
            fault = hub.fault_for(request)
            if fault is not None:
                time.sleep(fault.stall_s)
                if fault.drop:
                    self.close_connection = True
                    return
            self._send(self._answer(request, body, fault), request, fault)

        do_HEAD = do_POST = do_GET

        def _answer(self, request: Request, body: bytes, fault: Fault | None) -> Answer:
            if fault is not None and fault.status is not None:
                return Answer(fault.status, fault.body)
            if not elsewhere:
                return routes.answer(request, body)
            data = hub.large(urlsplit(self.path).path.removeprefix("/large/"))
            if data is None:
                return Answer(404, b"")
            etag = hashlib.md5(data).hexdigest()
            return routes.ranged(data, request, {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"})

        def _send(self, answer: Answer, request: Request, fault: Fault | None) -> None:
            data = answer.body
            if fault is not None and fault.flip is not None and fault.flip < len(data):
                data = data[: fault.flip] + bytes([data[fault.flip] ^ 0xFF]) + data[fault.flip + 1 :]
            headers = answer.headers | dict(fault.headers if fault is not None else {})
            request.status = answer.status
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if fault is not None and fault.cut_after is not None:
                data = data[: fault.cut_after]
                self.close_connection = True
            step = 1 if fault is not None and fault.drip_s else max(len(data), 1)
            try:
                for start in range(0, len(data), step):
                    self.wfile.write(data[start : start + step])
                    request.sent += step
                    time.sleep(0 if fault is None else fault.drip_s)
            except ConnectionError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: what was asked is kept."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may leave when it likes
            super().handle_error(request, client_address)


@contextmanager
def fake_hub() -> Generator[FakeHub]:
    """A hub on two ports of its own: one for its routes, one that large files are redirected to."""
    hub = FakeHub()
    servers = [_Server(("127.0.0.1", 0), _handler(hub, elsewhere=there)) for there in (False, True)]
    hub.address = f"http://127.0.0.1:{servers[0].server_port}"
    hub.elsewhere = f"http://localhost:{servers[1].server_port}"
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()
