"""What both clients' upstreams have in common: the address, the body's model, the headers, what is in flight."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from types import TracebackType
from typing import Final, final

import msgspec
from yarl import URL

from changeover.core.errors import ConfigError, RequestError, UpstreamError
from changeover.serving.patch import Patch
from changeover.serving.upstream import words
from changeover.serving.upstream.interface import MAX_ANSWER_BYTES, PROBE_S, Answer, Headers

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_OURS: Final = frozenset({
    "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "expect", "host", "te",
    "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip
"""Headers that only a client sets: they say where a request ends and who sends it."""


@final
class Sent:
    """A request to an engine, as a context."""

    __slots__ = ("_answer", "_opening")

    def __init__(self, opening: Callable[[], Awaitable[Answer]]) -> None:
        self._opening = opening
        self._answer: Answer | None = None

    async def __aenter__(self) -> Answer:
        self._answer = answer = await self._opening()
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None


class Address(ABC):
    """One engine's address, and how many requests are on their way there."""

    def __init__(
        self, name: str, base_url: str, secret: str | None, model: str | None, probe_path: str, patch: Patch | None
    ) -> None:
        """Set the address up; nothing is sent yet. See `Client.upstream`."""
        if secret is not None and not secret.isprintable():
            raise ConfigError(f"The key of `{name}` holds a line break or another control character. Remove it.")
        self.name = name
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.heard = 0
        self.in_flight = 0
        self.answered = 0
        self._secret = secret
        self._probe_path = probe_path
        self._unread = frozenset(() if patch is None else patch.unread)
        self._added = b"" if patch is None else msgspec.json.encode(patch.fields)[1:]
        """What comes before a body's last brace, and that brace."""
        self._rooted = URL(self.base_url).path in ("", "/")
        self._idle: asyncio.Event | None = None
        """Set when nothing is in flight; None while nobody waits for that."""

    async def idle(self) -> None:
        """Wait until no request is in flight."""
        if self.in_flight:
            if self._idle is None:
                self._idle = asyncio.Event()
            await self._idle.wait()

    async def ready(self) -> bool:
        """Whether the engine can answer now."""
        return await self.probe() is None

    @abstractmethod
    async def probe(self, timeout_s: float = PROBE_S) -> str | None:
        """Ask the engine whether it can answer; None if so, else why not, to follow its name."""

    @abstractmethod
    async def open(
        self,
        path: str,
        body: bytes,
        *,
        first_byte_s: float,
        stall_s: float,
        headers: Headers = (),
        as_is: bool = False,
    ) -> Answer:
        """Send a body and wait for the head of the answer. See `Upstream.open`."""

    async def fetch(
        self,
        path: str,
        body: bytes,
        *,
        first_byte_s: float,
        stall_s: float,
        headers: Headers = (),
    ) -> bytes:
        """Send a body and read the whole answer. See `Upstream.fetch`."""
        answer = await self.open(path, body, first_byte_s=first_byte_s, stall_s=stall_s, headers=headers, as_is=True)
        try:
            return await answer.read()
        finally:
            answer.close()

    def send(
        self,
        path: str,
        body: bytes,
        *,
        first_byte_s: float,
        stall_s: float,
        headers: Headers = (),
        as_is: bool = False,
    ) -> Sent:
        """As `open`, as a context."""
        return Sent(
            partial(self.open, path, body, first_byte_s=first_byte_s, stall_s=stall_s, headers=headers, as_is=as_is)
        )

    def outgoing(self, path: str, body: bytes, *, as_is: bool) -> bytes:
        """A body as the engine is sent it.

        Raises:
            RequestError: It is not a JSON object; or the engine cannot be asked under this path.
        """
        if not as_is and self.model is not None:
            body = with_model(body, self.model)
        if not self._added:
            return body
        if path in self._unread:
            raise RequestError(
                f"`{self.name}` shares its engine with adapters, and that engine cannot tell them apart under {path}. "
                "Ask under /v1/chat/completions."
            )
        return with_fields(body, self._added)

    def landed(self) -> None:
        """One request less is in flight."""
        self.in_flight -= 1
        self.answered += 1
        if self._idle is not None and not self.in_flight:
            self._idle.set()
            self._idle = None

    def url(self, path: str) -> URL:
        """The whole address of a path as engines know it."""
        return URL(self.base_url + (path if self._rooted else path.removeprefix("/v1")))


async def whole(answer: Answer, name: str) -> bytes:
    """What is left of an answer's body. See `Answer.read`."""
    parts: list[bytes] = []
    size = 0
    while part := await answer.piece():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise UpstreamError(words.too_long(name, MAX_ANSWER_BYTES))
    return parts[0] if len(parts) == 1 else b"".join(parts)


def with_model(body: bytes, model: str) -> bytes:
    """The body with another `model`; everything else keeps its bytes.

    Raises:
        RequestError: It is not a JSON object.
    """
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RequestError("The body is not a JSON object.") from exc
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def with_fields(body: bytes, added: bytes) -> bytes:
    """The body with more fields at its end, where they win over equal ones; everything else keeps its bytes.

    Args:
        body: A JSON object.
        added: Fields as JSON, with the closing brace.

    Raises:
        RequestError: It is not a JSON object.
    """
    whole = body.rstrip()
    if not whole.endswith(b"}"):
        raise RequestError("The body is not a JSON object.")
    inside = whole[:-1].rstrip()
    return inside + (added if inside == b"{" else b"," + added)


def checked(headers: Headers) -> list[tuple[str, str]]:
    """Headers that are safe to send: no value can end its line.

    Raises:
        RequestError: A name is none, or one of our own; a value holds more than printable ASCII.
    """
    pairs = list(headers)
    for name, value in pairs:
        if not _may_send(name):
            raise RequestError(f"A header named `{_shown(name)}` cannot be sent to a model.")
        if _VALUE.fullmatch(value) is None:
            raise RequestError(f"The header `{name}` holds a line break or a character that is not printable ASCII.")
    return pairs


@lru_cache(maxsize=256)
def _may_send(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name.lower() not in _OURS


def _shown(name: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in name)[:60]
