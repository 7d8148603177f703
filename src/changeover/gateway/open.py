"""Opening one answer of one engine: sent, and its first bytes understood."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

import msgspec

from changeover.core.errors import UpstreamError
from changeover.gateway.compose import compose
from changeover.gateway.contract import Reader, reader
from changeover.gateway.contract.structured import Expectation, ask_again, texts_of
from changeover.gateway.contract.usage import estimated_usage
from changeover.gateway.endpoints import CHAT, Counts, Endpoint
from changeover.gateway.resolve import Call
from changeover.gateway.sse import events, payload, whole_events
from changeover.serving.profiles import Profile
from changeover.serving.upstream import Answer, Upstream
from changeover.serving.variants import Variant
from changeover.tasks.routes import Side

NO_GRAMMAR = ("json_object", "none")
"""Engines that hold no answer to a schema: theirs is looked at whole before any of it is passed on."""
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt: who is asked what."""

    call: Call
    side: Side | None
    variant: Variant
    upstream: Upstream
    profile: Profile
    headers: Sequence[tuple[str, str]]
    first_byte_s: float

    def body(self, fields: Mapping[str, Any], *, stream: bool) -> bytes:
        return compose(
            fields,
            self.call.endpoint,
            self.variant,
            self.profile,
            model=self.upstream.model or self.variant.deployment,
            stream=stream,
            most_tokens=self.call.live.task.declared.max_output_tokens,
        )

    async def send(self, body: bytes) -> Answer:
        return await self.upstream.open(
            self.call.endpoint.path,
            body,
            first_byte_s=self.first_byte_s,
            stall_s=self.call.live.task.declared.between_tokens_s,
            headers=self.headers,
            as_is=True,
        )


class Opened(msgspec.Struct, kw_only=True):
    """An answer whose first bytes are here. Exactly one of `fields` and `rest` is not None."""

    side: Side | None
    variant: Variant
    answer: Answer | None
    """Closed by `close`; None if nothing is open any more."""
    model: Any
    """What the engine calls itself: replaced by the task's name."""
    fields: dict[str, Any] | None = None
    """A whole answer, read, in the shape that the caller gets."""
    upstream: Upstream | None = None
    """Who answers."""
    first: bytes = b""
    """A stream's first whole events."""
    rest: AsyncIterator[bytes] | None = None
    """The other events of a stream."""
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
    if call.stream and (expects is None or call.endpoint is not CHAT or asking.profile.structured not in NO_GRAMMAR):
        return await _stream(asking, expects)
    fields, estimated = await _whole(asking, call.body)
    if expects is not None:
        fields, estimated = await _in_shape(asking, expects, fields, estimated)
    opened = Opened(
        side=asking.side,
        variant=asking.variant,
        answer=None,
        model=fields.get("model"),
        counts=call.endpoint.usage(fields),
        estimated=estimated,
    )
    if call.stream:
        opened.first, opened.rest = as_events(fields), _nothing()
    else:
        opened.fields = fields
    return opened


async def _stream(asking: Asking, expects: Expectation | None) -> Opened:
    call = asking.call
    answer = await asking.send(asking.body(call.body, stream=True))
    try:
        rest = whole_events(answer.chunks())
        async for block in rest:
            for event in events(block):
                fields = payload(event)
                if fields is not None:
                    if not call.endpoint.is_answer(fields):
                        raise UpstreamError("The model's stream has events of an unknown shape.")
                    return Opened(
                        side=asking.side,
                        variant=asking.variant,
                        answer=answer,
                        model=call.endpoint.model(fields),
                        first=block,
                        rest=rest,
                        reader=_reader(asking),
                        expects=expects,
                    )
        raise UpstreamError("The model ended its stream without a word.")
    except BaseException:
        answer.close()
        raise


async def _whole(asking: Asking, fields: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """A whole answer in the caller's shape, and whether its tokens are an estimate."""
    endpoint = asking.call.endpoint
    answer = await asking.send(asking.body(fields, stream=False))
    try:
        body = await answer.read()
    finally:
        answer.close()
    said = _understood(body, endpoint)
    shaper = _reader(asking)
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
        fields, estimated_now = await _whole(asking, body)
        estimated = estimated or estimated_now
        problem = await _problem(expects, fields)
        fields["usage"] = _sum_of(before.get("usage"), fields.get("usage"))
    if problem is not None:
        error = UpstreamError(
            f"`{asking.variant.deployment}` did not answer in the shape that was asked for: {problem}."
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
    if asking.call.endpoint is not CHAT:
        return None
    parameters = asking.variant.bundle.parameters
    return reader(asking.profile, {**parameters, **asking.call.body} if parameters else asking.call.body)


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


async def _nothing() -> AsyncIterator[bytes]:
    for part in ():
        yield part
