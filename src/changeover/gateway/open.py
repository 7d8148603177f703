"""Opening one answer of one engine: sent, and its first bytes understood."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, cast

import msgspec

from changeover.core.errors import UpstreamError
from changeover.gateway.compose import compose
from changeover.gateway.contract import Reader, reader
from changeover.gateway.contract.structured import Expectation, ask_again, texts_of
from changeover.gateway.contract.usage import estimated_usage
from changeover.gateway.endpoints import CHAT, Counts, Endpoint
from changeover.gateway.plain import plain_answer
from changeover.gateway.resolve import Call
from changeover.gateway.sse import Cutter, events, payload
from changeover.gateway.ways import Way
from changeover.serving.profiles import NO_GRAMMAR
from changeover.serving.upstream import Answer, Upstream
from changeover.tasks.routes import Side

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Asking(msgspec.Struct, frozen=True):
    """One attempt: who is asked what."""

    call: Call
    side: Side | None
    way: Way
    upstream: Upstream
    headers: Sequence[tuple[str, str]]
    first_byte_s: float

    def body(self, fields: Mapping[str, Any], *, stream: bool) -> bytes:
        """A body as this variant takes it."""
        call, way = self.call, self.way
        return compose(
            fields,
            call.endpoint,
            way.variant,
            way.profile,
            model=self.upstream.model or way.variant.deployment,
            stream=stream,
            most_tokens=call.live.task.declared.max_output_tokens,
            plain=call.plain and fields is call.body,
            begun=call.begun,
        )

    def fetch(self, fields: Mapping[str, Any]) -> Coroutine[Any, Any, bytes]:
        """Ask for a whole answer, as it comes."""
        call = self.call
        return self.upstream.fetch(
            call.endpoint.path,
            self.body(fields, stream=False),
            first_byte_s=self.first_byte_s,
            stall_s=call.live.task.declared.between_tokens_s,
            headers=self.headers,
        )

    def stream(self) -> Coroutine[Any, Any, Answer]:
        """Ask for a stream."""
        call = self.call
        return self.upstream.open(
            call.endpoint.path,
            self.body(call.body, stream=True),
            first_byte_s=self.first_byte_s,
            stall_s=call.live.task.declared.between_tokens_s,
            headers=self.headers,
            as_is=True,
        )


class Opened(msgspec.Struct, kw_only=True):
    """An answer whose first bytes are here: a whole one has a `body`, a stream has not."""

    side: Side | None
    way: Way
    upstream: Upstream
    """Who answers."""
    answer: Answer | None = None
    """The rest of a stream. Closed by `close`; None if all is here."""
    body: bytes | None = None
    """A whole answer, as the caller gets it."""
    model: Any = None
    """What the engine of a stream calls itself: replaced by the task's name."""
    first: bytes = b""
    """A stream's first whole events."""
    cutter: Cutter | None = None
    """Cuts the rest of a stream into events; it may hold the beginning of one."""
    reader: Reader | None = None
    """Turns a stream's events into the shape that the caller gets; None: they have it."""
    expects: Expectation | None = None
    """What a stream's text must be, once it is whole."""
    counts: Counts | None = None
    """Tokens of a whole answer."""
    estimated: bool = False
    """They are our estimate."""

    def close(self) -> None:
        """Be done with the engine; it stops working on what was not read."""
        if self.answer is not None:
            self.answer.close()


async def open_answer(asking: Asking) -> Opened:
    """Ask once; what must have a shape is asked for a second time if it has it not.

    Raises:
        RequestError, CapacityError, UpstreamError: See `Upstream.open`; also for what is no answer at all.
    """
    call = asking.call
    expects = call.expects
    # An engine that holds no answer to a schema: its answer is looked at whole before any of it is passed on.
    if call.stream and (
        expects is None or call.endpoint is not CHAT or asking.way.profile.structured not in NO_GRAMMAR
    ):
        return await _stream(asking, expects)
    body = await asking.fetch(call.body)
    shaper = _reader(asking)
    if call.plain and shaper is None and not call.stream:
        plain = plain_answer(body, call.name)
        if plain is not None:
            return Opened(
                side=asking.side, way=asking.way, upstream=asking.upstream, body=plain.body, counts=plain.counts
            )
    fields, estimated = _in_words(asking, body, shaper)
    if expects is not None:
        fields, estimated = await _in_shape(asking, expects, fields, estimated)
    opened = Opened(
        side=asking.side,
        way=asking.way,
        upstream=asking.upstream,
        model=fields.get("model"),
        counts=call.endpoint.usage(fields),
        estimated=estimated,
    )
    if call.stream:
        opened.first = as_events(fields)
    else:
        fields["model"] = call.name
        opened.body = _encode(fields)
    return opened


async def _stream(asking: Asking, expects: Expectation | None) -> Opened:
    call = asking.call
    answer = await asking.stream()
    try:
        cutter = Cutter()
        while chunk := await answer.piece():
            block = cutter.cut(chunk)
            for event in events(block):
                fields = payload(event)
                if fields is not None:
                    if not call.endpoint.is_answer(fields):
                        raise UpstreamError("The model's stream has events of an unknown shape.")
                    return Opened(
                        side=asking.side,
                        way=asking.way,
                        upstream=asking.upstream,
                        answer=answer,
                        model=call.endpoint.model(fields),
                        first=block,
                        cutter=cutter,
                        reader=_reader(asking),
                        expects=expects,
                    )
        cutter.end()
        raise UpstreamError("The model ended its stream without a word.")
    except BaseException:
        answer.close()
        raise


def _in_words(asking: Asking, body: bytes, shaper: Reader | None) -> tuple[dict[str, Any], bool]:
    """A whole answer in the caller's shape, and whether its tokens are an estimate."""
    endpoint = asking.call.endpoint
    said = _understood(body, endpoint)
    if shaper is not None:
        said = shaper.whole(said)
    if endpoint.usage(said) is None:
        said["usage"] = estimated_usage(asking.call.body, words_of(said), endpoint.usage_keys)
        return said, True
    return said, False


async def _in_shape(
    asking: Asking, expects: Expectation, fields: dict[str, Any], estimated: bool
) -> tuple[dict[str, Any], bool]:
    """The answer if it has the shape that was asked for, or the one that the model gives when it is shown why not."""
    problem = await _problem(expects, fields)
    if problem is not None and asking.call.endpoint is CHAT:
        before = fields
        body = ask_again(asking.call.body, next(iter(texts_of(fields)), ""), problem)
        fields, estimated_now = _in_words(asking, await asking.fetch(body), _reader(asking))
        estimated = estimated or estimated_now
        problem = await _problem(expects, fields)
        fields["usage"] = _sum_of(before.get("usage"), fields.get("usage"))
    if problem is not None:
        error = UpstreamError(
            f"`{asking.way.variant.deployment}` did not answer in the shape that was asked for: {problem}."
        )
        error.code = "structured_output_failed"
        raise error
    return fields, estimated


async def _problem(expects: Expectation, fields: Mapping[str, Any]) -> str | None:
    for text in texts_of(fields):
        problem = await expects.problem_of(text)
        if problem is not None:
            return problem
    return None


def _sum_of(a: Any, b: Any) -> Any:
    """Both answers were computed: both are counted."""
    if not isinstance(a, dict) or not isinstance(b, dict):
        return b
    first, second = cast("dict[str, Any]", a), cast("dict[str, Any]", b)
    added = {
        key: value + first[key] for key, value in second.items() if type(value) is int and type(first.get(key)) is int
    }
    return {**second, **added}


def _reader(asking: Asking) -> Reader | None:
    begun = asking.call.begun
    if asking.call.endpoint is not CHAT or (begun is not None and begun.spoken):
        return None  # in the middle of a text, its words are content as they are
    way = asking.way
    parameters = way.variant.bundle.parameters
    return reader(way.profile, {**parameters, **asking.call.body} if parameters else asking.call.body)


def _understood(body: bytes, endpoint: Endpoint) -> dict[str, Any]:
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise UpstreamError("The model's answer is not JSON.") from exc
    given: Any = cast("dict[str, Any]", fields).get(endpoint.answers) if isinstance(fields, dict) else None
    if not isinstance(given, list) or (not given and endpoint.answers in ("choices", "data")):
        raise UpstreamError(f"The model's answer has no {endpoint.answers}.")
    members = cast("list[Any]", given)
    if any(not isinstance(each, dict) or not endpoint.is_choice(cast("dict[str, Any]", each)) for each in members):
        raise UpstreamError(f"The model's answer has {endpoint.answers} of an unknown shape.")
    return cast("dict[str, Any]", fields)


def words_of(fields: Mapping[str, Any]) -> str:
    """All text of a whole answer, whatever the endpoint: for counting."""
    found: list[str] = []
    for choice in _objects(fields.get("choices")):
        message = choice.get("message")
        inner: Mapping[str, Any] = cast("dict[str, Any]", message) if isinstance(message, dict) else choice
        found += [str(inner[key]) for key in ("reasoning_content", "content", "text") if inner.get(key)]
        found += [str(tool) for tool in _objects(inner.get("tool_calls"))]
    for item in (*_objects(fields.get("output")), fields):
        found += [str(part.get("text") or "") for part in _objects(item.get("content"))]
    return "\n".join(found)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in cast("list[Any]", value) if isinstance(each, dict)] if isinstance(value, list) else []


def as_events(fields: dict[str, Any]) -> bytes:
    """A whole chat answer as the stream that a caller asked for: one event with all of it, the usage, the end mark."""
    head = {key: fields[key] for key in ("id", "created", "model", "system_fingerprint") if key in fields}
    head["object"] = "chat.completion.chunk"
    choices = [
        {
            "index": choice.get("index", place),
            "delta": {**choice["message"], **_numbered(choice["message"])},
            "logprobs": choice.get("logprobs"),
            "finish_reason": choice.get("finish_reason"),
        }
        for place, choice in enumerate(fields["choices"])
    ]
    said: list[dict[str, Any]] = [{**head, "choices": choices}, {**head, "choices": [], "usage": fields.get("usage")}]
    return b"".join(b"data: " + _encode(each) + b"\n\n" for each in said) + CHAT.done[0] + b"\n\n"


def _numbered(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    return {"tool_calls": [{"index": n, **call} for n, call in enumerate(calls)]} if calls else {}
