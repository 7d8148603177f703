"""A front as an ASGI application: OpenAI's calls over HTTP, answered by a worker."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import msgspec

from changeover.serving.engines import front_asked
from changeover.serving.engines.front_asked import Asked, Skills
from changeover.serving.engines.front_fields import Fields, Wrong
from changeover.serving.engines.front_shapes import ChatShape, Choice, CompletionsShape, Shape
from changeover.serving.engines.front_worker import Answer, LostError, Said, Worker

MOST_BODY_BYTES: Final = 64 << 20
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Reads(Protocol):
    def __call__(self, fields: Fields, skills: Skills, /) -> Asked: ...


class _Answered(Exception):
    """The answer is an error."""

    def __init__(self, status: int, message: str, kind: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": kind, "param": None, "code": None, **more}


class _Left(Exception):
    """The caller has."""


@dataclass(frozen=True)
class _Call:
    """A caller, and the way back."""

    receive: Receive
    send: Send

    async def body(self) -> Fields:
        data = b""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise _Left
            data += message.get("body", b"")
            if len(data) > MOST_BODY_BYTES:
                raise _Answered(413, "The body is too large.", "invalid_request_error")
            if not message.get("more_body"):
                break
        try:
            fields: Any = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Wrong(f"The body is not JSON: {exc}") from exc
        if not isinstance(fields, dict):
            raise Wrong("The body must be a JSON object.")
        return cast("Fields", fields)

    async def left(self) -> None:
        """Wait until the caller is gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def respond(self, status: int, value: Any) -> None:
        await self.begin(status, b"application/json")
        await self.send({"type": "http.response.body", "body": msgspec.json.encode(value)})

    async def begin(self, status: int, kind: bytes) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})

    async def event(self, value: Any) -> None:
        data = value if isinstance(value, bytes) else msgspec.json.encode(value)
        await self.send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})


class FrontApp:
    """The server. It keeps nothing of what it is asked."""

    def __init__(self, model: str, secret: str, skills: Skills, worker: Worker) -> None:
        self._model = model
        self._authorization = f"Bearer {secret}".encode()
        self._skills = skills
        self._worker = worker
        self._calls: Mapping[str, tuple[_Reads, type[Shape]]] = {
            "/v1/chat/completions": (front_asked.chat, ChatShape),
            "/v1/completions": (front_asked.completions, CompletionsShape),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        call = _Call(receive, send)
        try:
            await self._route(scope, call)
        except Wrong as exc:
            error = {"message": str(exc), "type": "invalid_request_error", "param": exc.param, "code": None}
            await call.respond(400, {"error": error})
        except _Answered as exc:
            await call.respond(exc.status, {"error": exc.error})
        except _Left:
            pass

    async def _route(self, scope: Scope, call: _Call) -> None:
        path, method = scope["path"], scope["method"]
        if path == "/health":
            well = self._worker.well()
            await call.respond(200 if well else 503, {"status": "ok" if well else "the model does not answer"})
            return
        if not self._allowed(scope["headers"]):
            raise _Answered(401, "Invalid API key", "authentication_error")
        if path == "/v1/models" and method == "GET":
            card = {"id": self._model, "object": "model", "created": int(time.time()), "owned_by": "changeover"}
            await call.respond(200, {"object": "list", "data": [card]})
        elif path == "/tokenize" and method == "POST":
            await self._tokenize(call)
        elif path in self._calls and method == "POST":
            reads, shape = self._calls[path]
            asked = reads(await call.body(), self._skills)
            await self._until_left(call, self._answer(call, asked, shape))
        else:
            raise _Answered(404, f"No route {method} {path}", "not_found_error")

    def _allowed(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        given = next((value for name, value in headers if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._authorization)

    async def _tokenize(self, call: _Call) -> None:
        fields = await call.body()
        text = fields.get("content", fields.get("prompt"))
        if not isinstance(text, str):
            raise Wrong("`content` must be text.", "content")
        answer = self._worker.ask({"op": "tokens", "text": text})
        try:
            said = await _said(answer)
            answer.whole = True
        finally:
            answer.close()
        await call.respond(200, {"tokens": said["list"], "count": len(said["list"])})

    async def _until_left(self, call: _Call, work: Awaitable[None]) -> None:
        """Do the work, but no longer than there is somebody to do it for."""
        working, left = asyncio.ensure_future(work), asyncio.ensure_future(call.left())
        try:
            await asyncio.wait({working, left}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
        finally:
            for task in (working, left):
                task.cancel()
            await asyncio.gather(working, left, return_exceptions=True)

    async def _answer(self, call: _Call, asked: Asked, form: type[Shape]) -> None:
        shape = form(self._model, logprobs=asked.asks[0]["logprobs"] is not None)
        answers = [self._worker.ask(ask) for ask in asked.asks]
        try:
            prompt = sum([_prompt_tokens(await _said(answer)) for answer in answers])
            gathered = _Gathered(asked, answers)
            if asked.stream:
                await _stream(call, shape, asked, gathered, prompt)
            else:
                async for _index, _said_of in gathered:
                    pass
                await call.respond(200, shape.whole(gathered.choices, _usage(prompt, gathered.choices)))
        finally:
            for answer in answers:
                answer.close()


class _Gathered:
    """The answers to all prompts of a call, as they come."""

    def __init__(self, asked: Asked, answers: Sequence[Answer]) -> None:
        self._asked = asked
        self._answers = answers
        many = len(answers) * asked.choices
        self.choices: list[Choice] = [Choice(text=asked.echo[at // asked.choices]) for at in range(many)]

    async def __aiter__(self) -> AsyncIterator[tuple[int, Said]]:
        """Yield the index of a choice, and what is new of it. Prompts one after the other; their choices mixed."""
        for at, answer in enumerate(self._answers):
            mine = self.choices[at * self._asked.choices : (at + 1) * self._asked.choices]
            while not all(choice.finish for choice in mine):
                said = await _said(answer)
                index: int = said["choice"]
                mine[index].add(said)
                yield at * self._asked.choices + index, said
            answer.whole = True


async def _stream(call: _Call, shape: Shape, asked: Asked, gathered: _Gathered, prompt: int) -> None:
    """Nothing goes out before the first piece: until then an error can still have its own status."""
    begun: set[int] = set()
    try:
        async for index, said in gathered:
            if not (said["text"] or said["finish"] or said.get("logprobs")):
                continue
            if not begun:
                await call.begin(200, b"text/event-stream")
            first = index not in begun
            begun.add(index)
            echo = asked.echo[index // asked.choices] if first else ""
            await call.event(shape.chunk(index, {**said, "text": echo + said["text"]}, first=first))
    except _Answered as exc:
        if not begun:
            raise
        await call.event({"error": exc.error})  # and no end: whoever reads knows that it is cut
        await call.send({"type": "http.response.body", "body": b""})
        return
    if asked.wants_usage:
        await call.event(shape.usage(_usage(prompt, gathered.choices)))
    await call.event(b"[DONE]")
    await call.send({"type": "http.response.body", "body": b""})


async def _said(answer: Answer) -> Said:
    """The next thing that the worker says, unless it is that there is no answer."""
    try:
        said = await answer.next()
    except LostError:
        raise _Answered(503, "The model's process has ended.", "server_error") from None
    if "too_long" in said:
        answer.whole = True
        words = (
            f"This model's maximum context length is {said['context']} tokens. However, your messages resulted in "
            f"{said['too_long']} tokens. Please reduce the length of the messages."
        )
        if not said["too_long"]:
            words = "The prompt has no tokens."
            raise _Answered(400, words, "invalid_request_error", param="messages")
        raise _Answered(400, words, "invalid_request_error", param="messages", code="context_length_exceeded")
    if "refused" in said:
        answer.whole = True
        raise _Answered(400, said["refused"], "invalid_request_error")
    if "failed" in said:
        raise _Answered(500, said["failed"], "server_error")
    return said


def _prompt_tokens(said: Said) -> int:
    return said["prompt_tokens"]


def _usage(prompt: int, choices: Sequence[Choice]) -> Mapping[str, int]:
    completion = sum(choice.tokens for choice in choices)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
