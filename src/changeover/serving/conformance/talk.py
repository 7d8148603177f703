"""Speaking to whom the suite looks at: requests out, answers in, and what was sent kept for the report."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import msgspec

from changeover.core.errors import UpstreamError
from changeover.serving.conformance.outcome import Wrong
from changeover.serving.profiles import Profile
from changeover.serving.upstream import Answer, Upstream

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
PATIENCE_S = 120.0
SHOWN = 160
"""Characters of a request in the report."""
_encode = msgspec.json.Encoder().encode

Fields = Mapping[str, Any]
Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """How an adapter is chosen with a request, and how the model without one is."""

    on: Fields
    off: Fields
    at: Upstream | None = None
    """Where it is asked; None: where the model without it is."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Whom the suite looks at: an engine's address, or a deployment through the gateway."""

    upstream: Upstream
    model: str
    """What goes into `model`."""
    profile: Profile
    standing: Mapping[str, bool | None]
    """Of every capability: said to be there, said not to be, or None."""
    through: Literal["engine", "gateway"]
    stranger: Upstream | None = None
    """The same address for somebody with a wrong key; None: it asks for none."""
    context_tokens: int | None = None
    """Prompt and answer together; None: not known."""
    slots: int | None = None
    """Requests that are answered at once; None: not known."""
    adapter: Adapter | None = None
    patience_s: float = PATIENCE_S
    """Longest wait for an answer."""

    @property
    def has_grammar(self) -> bool:
        """Whether answers can be forced, so that no wit is asked of the model."""
        return self.standing["json_schema"] is True


@dataclass(frozen=True)
class Whole:
    """A whole chat answer."""

    fields: Fields

    @property
    def choices(self) -> Sequence[dict[str, Any]]:
        found = self.fields.get("choices")
        if not isinstance(found, list) or not found:
            raise Wrong("the answer has no `choices`")
        return cast("list[dict[str, Any]]", found)

    @property
    def message(self) -> dict[str, Any]:
        found = self.choices[0].get("message")
        if not isinstance(found, dict):
            raise Wrong("the choice has no `message`")
        return cast("dict[str, Any]", found)

    @property
    def text(self) -> str:
        return self.message.get("content") or ""

    @property
    def finish(self) -> Any:
        return self.choices[0].get("finish_reason")

    @property
    def usage(self) -> dict[str, Any]:
        return _usage(self.fields.get("usage"))

    @property
    def calls(self) -> Sequence[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self.message.get("tool_calls") or [])


@dataclass(frozen=True)
class Streamed:
    """A chat answer that came in events."""

    events: Sequence[dict[str, Any]]
    done: bool
    """Its end mark came."""

    @property
    def deltas(self) -> Sequence[dict[str, Any]]:
        choices = [choice for event in self.events for choice in event.get("choices") or ()]
        return [cast("dict[str, Any]", choice["delta"]) for choice in choices if isinstance(choice.get("delta"), dict)]

    @property
    def pieces(self) -> Sequence[str]:
        return [delta["content"] for delta in self.deltas if delta.get("content")]

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def finish(self) -> Any:
        reasons = [choice.get("finish_reason") for event in self.events for choice in event.get("choices") or ()]
        return next((reason for reason in reversed(reasons) if reason is not None), None)

    @property
    def usage(self) -> dict[str, Any]:
        return _usage(next((event["usage"] for event in reversed(self.events) if event.get("usage")), None))

    @property
    def calls(self) -> Sequence[dict[str, Any]]:
        """The tool calls that the deltas make together."""
        made: dict[int, dict[str, Any]] = {}
        for piece in (call for delta in self.deltas for call in delta.get("tool_calls") or ()):
            call = made.setdefault(piece.get("index", 0), {"function": {"name": "", "arguments": ""}})
            function = cast("dict[str, Any]", piece.get("function") or {})
            call |= {key: piece[key] for key in ("id", "type") if piece.get(key)}
            call["function"]["name"] += function.get("name") or ""
            call["function"]["arguments"] += function.get("arguments") or ""
        return [made[place] for place in sorted(made)]


@dataclass
class Talk:
    """One probe's requests."""

    subject: Subject
    sent: str = field(default="", init=False)

    async def chat(self, asked: str | Messages, **fields: Any) -> Whole:
        """Ask for a whole answer: at temperature 0 and at most 12 tokens, unless it is said otherwise."""
        return Whole(await self.post(CHAT, {**_asked(asked), **fields}))

    async def stream(self, asked: str | Messages, **fields: Any) -> Streamed:
        """Ask for a stream, and read all of it."""
        events: list[dict[str, Any]] = []
        done = False
        async for event in self.events(asked, **fields):
            done = done or event is None
            if event is not None:
                events.append(event)
        return Streamed(events, done)

    async def events(self, asked: str | Messages, **fields: Any) -> AsyncGenerator[dict[str, Any] | None]:
        """The events of a stream as they arrive; None for the end mark. Leaving early hangs up."""
        answer = await self._open(CHAT, {**_asked(asked), "stream": True, **fields})
        try:
            rest = b""
            while piece := await answer.piece():
                *whole, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
                for block in whole:
                    for line in block.split(b"\n"):
                        if line.startswith(b"data:"):
                            yield _event(line[5:].strip())
        finally:
            answer.close()

    async def post(self, path: str, fields: Fields) -> dict[str, Any]:
        """Send a body and read the whole answer."""
        answer = await self._open(path, fields)
        try:
            said = await answer.read()
        finally:
            answer.close()
        return _object(said)

    async def _open(self, path: str, fields: Fields) -> Answer:
        subject = self.subject
        dropped = subject.profile.dropped if subject.through == "engine" else ()
        body = {"model": subject.model, **{key: value for key, value in fields.items() if key not in dropped}}
        body = subject.profile.with_seed(body) if subject.through == "engine" else body
        self.sent = _short(path, body)
        return await subject.upstream.open(
            path, _encode(body), first_byte_s=subject.patience_s, stall_s=subject.patience_s, as_is=True
        )


def _asked(asked: str | Messages) -> dict[str, Any]:
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else list(asked)
    return {"messages": messages, "temperature": 0, "max_tokens": 12}


def _event(data: bytes) -> dict[str, Any] | None:
    if data == b"[DONE]":
        return None
    event = _object(data)
    if event.get("error"):
        said: Any = event["error"]
        message = cast("dict[str, Any]", said).get("message") if isinstance(said, dict) else said
        raise UpstreamError(f"The stream broke off: {message}")
    return event


def _object(said: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(said)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Wrong(f"what came is not JSON ({exc})") from exc
    if not isinstance(value, dict):
        raise Wrong("what came is no JSON object")
    return cast("dict[str, Any]", value)


def _usage(said: Any) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise Wrong("it has no `usage`")
    return cast("dict[str, Any]", said)


def _short(path: str, body: Fields) -> str:
    """A request as the report shows it: where it went, and what is not plain about it."""
    told = {key: value for key, value in body.items() if key not in ("model", "messages", "temperature", "max_tokens")}
    messages = body.get("messages")
    words = str(messages[-1].get("content")) if messages else str(body.get("prompt") or body.get("input") or "")
    words = words if len(words) <= SHOWN // 2 else f"{words[: SHOWN // 2]}…"
    line = f"{path} {_encode(told).decode() if told else ''} {words!r}"
    return line if len(line) <= SHOWN * 2 else f"{line[: SHOWN * 2]}…"
