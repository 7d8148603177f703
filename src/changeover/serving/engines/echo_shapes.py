"""The shapes of answers in which OpenAI's chat completions, completions and embeddings come, whole and streamed."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from time import time
from typing import Any, Protocol

import msgspec

from changeover import __version__
from changeover.serving.engines.echo_answer import Answer, cut_anywhere
from changeover.serving.engines.echo_families import Called

DONE = b"data: [DONE]\n\n"
DIMENSIONS = 64
MOST_DIMENSIONS = 8192
ARGUMENT_PIECES = 3

encode = msgspec.json.Encoder().encode


class Shape(Protocol):
    """One answer in the shape of one endpoint."""

    def whole(self) -> bytes:
        """The body of an answer that is not streamed."""
        ...

    def opening(self) -> bytes:
        """The events before the first piece."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """Events, each a piece of what is said."""
        ...

    def closing(self) -> bytes:
        """The events that say how it ended."""
        ...

    def end_mark(self) -> bytes:
        """The event after which nothing comes."""
        ...


def event(value: Mapping[str, Any], name: str | None = None) -> bytes:
    """A server-sent event."""
    return (b"event: " + name.encode() + b"\n" if name else b"") + b"data: " + encode(value) + b"\n\n"


def call_id(call: Called, number: int, answer: Answer) -> str:
    """The id of a call. The same request has the same one, so that a test can say it in advance."""
    return f"call_{number}_{call.name}_{answer.prompt_tokens}"


class Chat:
    """OpenAI's chat completions."""

    def __init__(self, model: str, answer: Answer, wants_usage: bool) -> None:
        self._model = model
        self._answer = answer
        self._wants_usage = wants_usage and answer.counted
        self._id = f"chatcmpl-{token_hex(12)}"
        self._created = int(time())

    def whole(self) -> bytes:
        answer = self._answer
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.calls:
            message["content"] = answer.text or None
            message["tool_calls"] = [self._call(call, number, call.text()) for number, call in enumerate(answer.calls)]
        choices = [
            {"index": n, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
            for n in range(answer.choices)
        ]
        usage = {"usage": usage_of(answer)} if answer.counted else {}
        return encode({**self._head("chat.completion"), "choices": choices, **usage})

    def opening(self) -> bytes:
        return b"".join(self._event({"role": "assistant", "content": ""}, n) for n in range(self._answer.choices))

    def pieces(self) -> Iterator[bytes]:
        answer = self._answer
        many = range(answer.choices)
        if answer.reasoning:
            for piece in cut_anywhere(answer.reasoning, answer.pieces):
                yield from (self._event({"reasoning_content": piece}, n) for n in many)
        if answer.text or not answer.calls:
            for piece in answer.text_pieces():
                yield from (self._event({"content": piece}, n) for n in many)
        for number, call in enumerate(answer.calls):
            for delta in self._call_deltas(call, number):
                yield from (self._event({"tool_calls": [delta]}, n) for n in many)

    def closing(self) -> bytes:
        ends = b"".join(self._event({}, n, self._answer.finish_reason) for n in range(self._answer.choices))
        if not self._wants_usage:
            return ends
        return ends + event({**self._head("chat.completion.chunk"), "choices": [], "usage": usage_of(self._answer)})

    def end_mark(self) -> bytes:
        return DONE

    def _call(self, call: Called, number: int, arguments: str) -> dict[str, Any]:
        function = {"name": call.name, "arguments": arguments}
        return {"id": call_id(call, number, self._answer), "type": "function", "function": function}

    def _call_deltas(self, call: Called, number: int) -> Iterator[dict[str, Any]]:
        yield {"index": number, **self._call(call, number, "")}
        for piece in cut_anywhere(call.text(), ARGUMENT_PIECES):
            yield {"index": number, "function": {"arguments": piece}}

    def _event(self, delta: Mapping[str, Any], index: int, finish_reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        return _head(self._id, kind, self._created, self._model)


class Completions:
    """OpenAI's legacy completions, of one or several prompts."""

    def __init__(self, model: str, answers: Sequence[Answer], wants_usage: bool) -> None:
        self._model = model
        self._answers = [answer for answer in answers for _ in range(answer.choices)]
        self._usage = _sum_of(answers) if answers[0].counted else None
        self._wants_usage = wants_usage
        self._id = f"cmpl-{token_hex(12)}"
        self._created = int(time())

    def whole(self) -> bytes:
        choices = [self._choice(n, each.text, each.finish_reason) for n, each in enumerate(self._answers)]
        usage = {} if self._usage is None else {"usage": self._usage}
        return encode({**self._head(), "choices": choices, **usage})

    def opening(self) -> bytes:
        return b""

    def pieces(self) -> Iterator[bytes]:
        for n, each in enumerate(self._answers):
            for piece in each.text_pieces():
                yield self._event(n, piece)

    def closing(self) -> bytes:
        ends = b"".join(self._event(n, "", each.finish_reason) for n, each in enumerate(self._answers))
        if self._usage is None or not self._wants_usage:
            return ends
        return ends + event({**self._head(), "choices": [], "usage": self._usage})

    def end_mark(self) -> bytes:
        return DONE

    def _event(self, index: int, text: str, finish_reason: str | None = None) -> bytes:
        return event({**self._head(), "choices": [self._choice(index, text, finish_reason)]})

    def _choice(self, index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}

    def _head(self) -> dict[str, Any]:
        return _head(self._id, "text_completion", self._created, self._model)


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """OpenAI's embeddings. They are not streamed."""

    model: str
    texts: Sequence[str]
    dimensions: int
    as_base64: bool
    counted: bool

    @classmethod
    def asked(cls, model: str, texts: Sequence[str], fields: Mapping[str, Any], *, counted: bool) -> Embeddings:
        """Read what the vectors shall be like.

        Raises:
            ValueError: `dimensions` or `encoding_format` cannot be used.
        """
        dimensions = DIMENSIONS if fields.get("dimensions") is None else fields["dimensions"]
        if isinstance(dimensions, bool) or not isinstance(dimensions, int) or not 1 <= dimensions <= MOST_DIMENSIONS:
            raise ValueError(f"'dimensions' must be a whole number from 1 to {MOST_DIMENSIONS}")
        form = fields.get("encoding_format") or "float"
        if form not in ("float", "base64"):
            raise ValueError("'encoding_format' must be float or base64")
        return cls(model=model, texts=texts, dimensions=dimensions, as_base64=form == "base64", counted=counted)

    def whole(self) -> bytes:
        data = [
            {"object": "embedding", "index": n, "embedding": self._form(unit_vector(text, self.dimensions))}
            for n, text in enumerate(self.texts)
        ]
        tokens = sum(len(text.split()) for text in self.texts)
        usage = {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}} if self.counted else {}
        return encode({"object": "list", "data": data, "model": self.model, **usage})

    def opening(self) -> bytes:
        return b""

    def pieces(self) -> Iterator[bytes]:
        return iter(())

    def closing(self) -> bytes:
        return b""

    def end_mark(self) -> bytes:
        return b""

    def _form(self, vector: Sequence[float]) -> Sequence[float] | str:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if self.as_base64 else vector


def unit_vector(text: str, dimensions: int) -> list[float]:
    """A vector of length 1 that is the same for the same text and looks random for any other."""
    raw = hashlib.shake_256(text.encode(errors="surrogatepass")).digest(2 * dimensions)
    values = struct.unpack(f"<{dimensions}h", raw)
    length = math.hypot(*values) or 1.0
    return [value / length for value in values]


def usage_of(answer: Answer) -> dict[str, int]:
    """Tokens as chat completions count them."""
    return _usage(answer.prompt_tokens, answer.completion_tokens)


def _sum_of(answers: Sequence[Answer]) -> dict[str, int]:
    prompt = sum(each.prompt_tokens for each in answers)
    return _usage(prompt, sum(each.completion_tokens for each in answers))


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _head(identity: str, kind: str, created: int, model: str) -> dict[str, Any]:
    return {
        "id": identity,
        "object": kind,
        "created": created,
        "model": model,
        "system_fingerprint": f"echo-{__version__}",
    }
