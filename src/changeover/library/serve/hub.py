"""The application that answers as a hub does: who asks is checked first, then what is asked, then the policy; files last."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, urlencode

from changeover.core.errors import AuthenticationError, ChangeoverError, LicenceError, RequestError
from changeover.core.threads import in_thread
from changeover.library.serve.address import Address, read_address
from changeover.library.serve.ranges import Span, Unsatisfiable, is_listed, wanted
from changeover.library.serve.repositories import Commit, Repositories, Repository, ServedFile

log = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
"""Of a file that are read at once."""
PAGE = 100
MOST_A_PAGE = 1_000
"""Models in one answer."""
MOST_FIELDS = 50
"""Of a query."""
UNKNOWN_CREDENTIALS = "Invalid credentials in Authorization header"
"""The one message at which the hub's client does not take a 401 for a repository that does not exist."""

Message = MutableMapping[str, Any]
Lines = Sequence[tuple[bytes, bytes]]


class Admit(Protocol):
    """Who says whether a caller may load weights."""

    def __call__(self, headers: Lines) -> str:
        """The caller's name.

        Raises:
            AuthenticationError, PermissionError_: They may not.
        """
        ...


class Receive(Protocol):
    async def __call__(self) -> Message: ...


class Send(Protocol):
    async def __call__(self, message: Message, /) -> None: ...


class Missing(RequestError):
    """What was asked for is not here; `hub_code` is how the hub's client knows what exactly."""

    status = 404
    code = "not_found"

    def __init__(self, message: str, hub_code: str | None, commit: str | None = None) -> None:
        super().__init__(message)
        self.hub_code = hub_code
        self.commit = commit


class _WrongMethod(RequestError):
    status = 405
    code = "method_not_allowed"


@dataclass(frozen=True)
class _Answer:
    """A whole answer, or a file's head with the part of it to send."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    file: ServedFile | None = None
    span: Span | None = None


class Hub:
    """An ASGI application. Only files that a verified artifact names are ever opened."""

    def __init__(self, repositories: Callable[[], Repositories], admit: Admit) -> None:
        """Set up.

        Args:
            repositories: The library as it is now.
            admit: Asked about every request before anything else of it is read.
        """
        self._repositories = repositories
        self._admit = admit

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"a hub answers HTTP, not {scope['type']}")
        try:
            caller = self._admit(scope["headers"])
            answer = await self._answer(scope, caller)
        except ChangeoverError as exc:
            answer = _refusal(exc)
        await _send(answer, scope["method"], receive, send)

    async def _answer(self, scope: Mapping[str, Any], caller: str) -> _Answer:
        address = read_address(scope["raw_path"])
        if address is None:
            shown = scope["path"][:200]
            raise Missing(
                f"No route `{shown}` of a hub. It serves /api/models and /OWNER/NAME/resolve/REVISION/FILE.", None
            )
        if scope["method"] not in ("GET", "HEAD"):
            raise _WrongMethod(f"A hub's routes take GET and HEAD here, not `{scope['method'][:20]}`. It is read-only.")
        if address.kind == "whoami":
            token = {"displayName": caller, "role": "read"}
            return _json({"type": "user", "name": caller, "orgs": [], "auth": {"accessToken": token}})
        repositories = self._repositories()
        if address.kind == "models":
            return await in_thread(lambda: _models(repositories, scope))
        repository = await in_thread(lambda: _repository(repositories, address.repository))
        if address.kind == "refs":
            branches = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit.id}
                for name, commit in repository.branches
            ]
            return _json({"branches": branches, "tags": [], "converts": []})
        commit = _commit(repository, address.revision)
        if address.kind == "info":
            return _json(_described(repository, commit, dict(_query(scope))), commit)
        if address.kind == "tree":
            return _json(_tree(repository, commit, address), commit)
        headers = _headers(scope["headers"])
        if scope["method"] == "HEAD":
            headers.pop("range", None)  # RFC 9110, section 14.2: of a GET alone
        return _file(repository, commit, address.path, headers)


def _models(repositories: Repositories, scope: Mapping[str, Any]) -> _Answer:
    """One page of all that is served, by name; the next page begins behind the last one's name."""
    asked = dict(_query(scope))
    given = asked.get("limit", str(PAGE))
    if not given.isdecimal() or not (limit := int(given[:9])) >= 1:
        raise RequestError(f"`limit` is `{given[:20]}`, and must be a whole number from 1.")
    limit = min(limit, MOST_A_PAGE)
    after, author = asked.get("cursor", "").casefold(), asked.get("author")
    found: list[Repository] = []
    for each in repositories.all(asked.get("search", "")):
        if each.id.casefold() <= after or (author is not None and each.id.partition("/")[0] != author):
            continue
        found.append(each)
        if len(found) > limit:
            break
    answer = _json([_described(each, each.main, asked) for each in found[:limit]])
    if len(found) <= limit:
        return answer
    query = urlencode({**asked, "cursor": found[limit - 1].id})
    link = f'<{_origin(scope)}/api/models?{query}>; rel="next"'
    return _Answer(answer.status, {**answer.headers, "link": link}, answer.body)


def _origin(scope: Mapping[str, Any]) -> str:
    """The address that the caller used, or that of the socket where a `Host` header is missing or strange."""
    host, port = scope["server"]
    given = _headers(scope["headers"]).get("host", "")
    usable = given and all(letter.isalnum() or letter in ".-:[]" for letter in given)
    return f"{scope['scheme']}://{given if usable else f'{host}:{port}'}"


def _repository(repositories: Repositories, name: str) -> Repository:
    found = repositories.find(name)
    if found is None:
        raise Missing(
            f"No verified weights of `{name}` are here. `changeover pull` fetches them; /api/models lists what there is.",
            "RepoNotFound",
        )
    return found


def _commit(repository: Repository, revision: str | None) -> Commit:
    if revision is None:
        return repository.main
    found = repository.find(revision)
    if found is None:
        known = ", ".join(name for name, _ in repository.branches)
        raise Missing(
            f"`{repository.id}` has no revision `{revision[:80]}` here. Branches: {known}.", "RevisionNotFound"
        )
    return found


def _described(repository: Repository, commit: Commit, asked: Mapping[str, str]) -> dict[str, Any]:
    """A model as the hub's API has it. Facts that the card does not know are not there."""
    card = repository.card
    tags = [*({"gguf" if name.endswith(".gguf") else "safetensors" for name in commit.files}), *card.languages]
    known: dict[str, Any] = {
        "id": repository.id,
        "modelId": repository.id,
        "author": repository.id.partition("/")[0],
        "sha": commit.id,
        "private": False,
        "gated": False,
        "disabled": False,
        "tags": tags,
        "siblings": [_sibling(file, "blobs" in asked) for file in _sorted(commit)],
        "usedStorage": sum(file.size_bytes for file in commit.files.values()),
    }
    if card.licence is not None:
        known["tags"] = [*tags, f"license:{card.licence.id.casefold()}"]
        known["cardData"] = {"license": card.licence.id.casefold()}
    return known


def _sibling(file: ServedFile, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": file.name}
    return {"rfilename": file.name, "size": file.size_bytes, "blobId": file.blob, "lfs": _large(file, "sha256")}


def _large(file: ServedFile, digest: str) -> dict[str, Any]:
    return {digest: file.sha256, "size": file.size_bytes, "pointerSize": len(file.pointer)}


def _tree(repository: Repository, commit: Commit, address: Address) -> list[dict[str, Any]]:
    """All files of a commit below a directory. Directories have no rows of their own: every listing goes to the bottom."""
    below = f"{address.path}/" if address.path else ""
    found = [file for file in _sorted(commit) if file.name.startswith(below)]
    if not found:
        raise Missing(f"`{repository.id}` has no directory `{address.path[:200]}`.", "EntryNotFound", commit.id)
    return [
        {"type": "file", "path": file.name, "oid": file.blob, "size": file.size_bytes, "lfs": _large(file, "oid")}
        for file in found
    ]


def _sorted(commit: Commit) -> list[ServedFile]:
    return sorted(commit.files.values(), key=lambda file: file.name)


def _file(repository: Repository, commit: Commit, name: str, headers: Mapping[str, str]) -> _Answer:
    file = commit.files.get(name)
    if file is None:
        known = ", ".join(sorted(commit.files)[:5])
        raise Missing(f"`{repository.id}` has no file `{name[:200]}`. It has {known}.", "EntryNotFound", commit.id)
    shown = name.rpartition("/")[2]
    described = {
        "etag": file.etag,
        "x-linked-etag": file.etag,
        "x-linked-size": str(file.size_bytes),
        "x-repo-commit": commit.id,
        "accept-ranges": "bytes",
        "content-disposition": f"inline; filename*=UTF-8''{quote(shown, safe='')}; filename=\"{_ascii(shown)}\";",
    }
    if is_listed(file.etag, headers.get("if-none-match")):
        return _Answer(304, described)
    described["content-type"] = "application/octet-stream"
    unchanged = headers.get("if-range", file.etag).strip() == file.etag
    try:
        span = wanted(headers.get("range"), file.size_bytes) if unchanged else None
    except Unsatisfiable:
        return _Answer(416, {**described, "content-range": f"bytes */{file.size_bytes}", "content-length": "0"})
    if span is None:
        span = Span(0, file.size_bytes)
        return _Answer(200, {**described, "content-length": str(len(span))}, file=file, span=span)
    part = f"bytes {span.first}-{span.end - 1}/{file.size_bytes}"
    return _Answer(206, {**described, "content-range": part, "content-length": str(len(span))}, file=file, span=span)


def _json(value: Any, commit: Commit | None = None) -> _Answer:
    body = json.dumps(value, ensure_ascii=False).encode()
    headers = {"content-type": "application/json; charset=utf-8", "content-length": str(len(body))}
    if commit is not None:
        headers["x-repo-commit"] = commit.id
    return _Answer(200, headers, body)


def _refusal(exc: ChangeoverError) -> _Answer:
    told = _json({"error": exc.message, "code": exc.code})
    said = UNKNOWN_CREDENTIALS if isinstance(exc, AuthenticationError) else _ascii(exc.message)
    headers = {**told.headers, "x-error-message": said}
    if isinstance(exc, Missing):
        headers |= {} if exc.hub_code is None else {"x-error-code": exc.hub_code}
        headers |= {} if exc.commit is None else {"x-repo-commit": exc.commit}
    if isinstance(exc, LicenceError):
        # The hub's client shows what is said of a gated model; of another refusal it only says that nothing was found.
        headers["x-error-code"] = "GatedRepo"
    if isinstance(exc, AuthenticationError):
        headers["www-authenticate"] = "Bearer"
    return _Answer(exc.status, headers, told.body)


def _ascii(text: str) -> str:
    """A text as a header can have it."""
    kept = text.encode("ascii", "replace").decode()
    return "".join(letter if letter.isprintable() and letter not in '"\\' else "?" for letter in kept)


async def _send(answer: _Answer, method: str, receive: Receive, send: Send) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    file, span = answer.file, answer.span
    if file is None or span is None or method == "HEAD":
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})
        return
    try:
        opened = await in_thread(lambda: os.open(file.path, os.O_RDONLY))
    except OSError as exc:
        log.error("library: %s cannot be read: %s", file.name, exc.strerror)
        gone = Missing(f"`{file.name}` is not there any more. `changeover pull` fetches it again.", "EntryNotFound")
        await _send(_refusal(gone), method, receive, send)
        return
    left = asyncio.create_task(_left(receive))
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await _stream(opened, span, left, send)
    finally:
        left.cancel()
        os.close(opened)


async def _stream(opened: int, span: Span, left: asyncio.Task[None], send: Send) -> None:
    """Send a part of an open file. One that became shorter cuts the connection: a caller notices that, and goes on."""
    at = span.first
    while at < span.end and not left.done():
        block = await in_thread(lambda at=at: os.pread(opened, min(BLOCK_BYTES, span.end - at), at))
        if not block:
            raise OSError(f"a file of weights ends at {at} and should have {span.end} bytes")
        at += len(block)
        await send({"type": "http.response.body", "body": block, "more_body": at < span.end})


async def _left(receive: Receive) -> None:
    """Wait until the caller has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(lines: Lines) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in lines}


def _query(scope: Mapping[str, Any]) -> list[tuple[str, str]]:
    try:
        return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise RequestError(f"The query has more than {MOST_FIELDS} fields. Leave out what is not needed.") from None
