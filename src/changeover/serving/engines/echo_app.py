"""The echo engine as an ASGI application: OpenAI's and Anthropic's calls, as a real engine takes them, without a model."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from time import time

from changeover.serving.engines import echo_asked as ask
from changeover.serving.engines.echo_answer import Behaviour, Overflow, answer, check
from changeover.serving.engines.echo_asked import Asked, Fields, Said
from changeover.serving.engines.echo_faults import Caller, Delivery, Receive, Scope, Send, refuse, respond
from changeover.serving.engines.echo_messages import Messages
from changeover.serving.engines.echo_responses import Responses
from changeover.serving.engines.echo_shapes import Chat, Completions, Embeddings, Shape

__all__ = ["Behaviour", "EchoApp"]

Reading = Callable[[Fields, str], tuple[Shape, bool]]
"""Makes the answer to a request, given the fault (some lie in the words), and says whether it is streamed."""


class EchoApp:
    """The engine. It keeps counters and nothing else."""

    def __init__(self, model: str, secret: str, behaviour: Behaviour) -> None:
        self._model = model
        self._authorization = f"Bearer {secret}".encode()
        self._behaviour = behaviour
        self._calls: Mapping[str, Reading] = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._completions,
            "/v1/embeddings": self._embeddings,
            "/v1/responses": self._responses,
            "/v1/messages": self._messages,
        }
        self._callers: set[Caller] = set()
        self.requests = 0
        self.active = 0
        self.abandoned = 0
        """Requests whose caller left before the end."""
        self.sent_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if path == "/health":
            await respond(send, 200, {"status": "ok"})
        elif not self._allowed(scope["headers"]):
            await refuse(send, 401, "Invalid API key", "authentication_error")
        elif path in self._calls and method == "POST":
            await self._call(self._calls[path], Caller(scope, receive, send))
        elif path == "/v1/models" and method == "GET":
            card = {"id": self._model, "object": "model", "created": int(time()), "owned_by": "changeover"}
            await respond(send, 200, {"object": "list", "data": [card]})
        elif path == "/v1/echo/counters" and method in ("GET", "POST"):
            await respond(send, 200, self._counters())
        else:
            await refuse(send, 404, f"No route {method} {path}", "not_found_error")

    def _counters(self) -> dict[str, int]:
        return {
            "requests": self.requests,
            "active": self.active,
            "abandoned": self.abandoned,
            "sent_bytes": self.sent_bytes + sum(caller.sent_bytes for caller in self._callers),
        }

    def _allowed(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        given = next((value for name, value in headers if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._authorization)

    async def _call(self, reads: Reading, caller: Caller) -> None:
        fault = self._next_fault()
        try:
            shape, stream = reads(ask.fields_of(await caller.body()), fault)
        except Overflow as exc:
            numbers = {"n_prompt_tokens": exc.tokens, "n_ctx": exc.most}
            await refuse(caller.send, 400, str(exc), "exceed_context_size_error", more=numbers)
            return
        except ValueError as exc:
            await refuse(caller.send, 400, str(exc), "invalid_request_error")
            return
        self.requests += 1
        self.active += 1
        self._callers.add(caller)
        try:
            delivery = Delivery(caller, self._behaviour, fault)
            if not await delivery.before_words():
                await (delivery.stream(shape) if stream else delivery.whole(shape))
        finally:
            self.active -= 1
            self.abandoned += caller.left
            self._callers.discard(caller)
            self.sent_bytes += caller.sent_bytes
            caller.forget()

    def _next_fault(self) -> str:
        """Spread evenly: at a rate of 0.25 every fourth request has the fault."""
        rate, number = self._behaviour.fault_rate, self.requests + 1
        return self._behaviour.fault if int(number * rate) > int((number - 1) * rate) else "none"

    def _chat(self, fields: Fields, fault: str) -> tuple[Shape, bool]:
        if self._behaviour.unknown_fields == "refuse":
            unknown = sorted(fields.keys() - ask.CHAT_FIELDS)
            if unknown:
                raise ValueError(f"Extra inputs are not permitted: {', '.join(unknown)}")
        asked = ask.chat(fields)
        return Chat(self._model, answer(asked, self._behaviour, fault), asked.wants_usage), asked.stream

    def _completions(self, fields: Fields, fault: str) -> tuple[Shape, bool]:
        many = ask.completions(fields)
        answers = [answer(each, self._behaviour, fault) for each in many]
        return Completions(self._model, answers, many[0].wants_usage), many[0].stream

    def _embeddings(self, fields: Fields, fault: str) -> tuple[Shape, bool]:
        texts = ask.texts(fields, "input")
        for text in texts:
            check(Asked(said=(Said("user", text),)), self._behaviour)
        return Embeddings.asked(self._model, texts, fields, counted=fault != "missing_usage"), False

    def _responses(self, fields: Fields, fault: str) -> tuple[Shape, bool]:
        asked = ask.responses(fields)
        return Responses(self._model, answer(asked, self._behaviour, fault), fields), asked.stream

    def _messages(self, fields: Fields, fault: str) -> tuple[Shape, bool]:
        asked = ask.messages(fields)
        return Messages(self._model, answer(asked, self._behaviour, fault)), asked.stream
