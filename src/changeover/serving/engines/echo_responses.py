"""The shape of OpenAI's responses, whole and streamed. Nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from secrets import token_hex
from time import time
from typing import Any

from changeover.serving.engines.echo_answer import Answer, cut_anywhere
from changeover.serving.engines.echo_asked import Fields
from changeover.serving.engines.echo_families import Called
from changeover.serving.engines.echo_shapes import ARGUMENT_PIECES, call_id, encode, event

REPEATED = [
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "user",
]
"""Of the request, in the answer."""
DEFAULTS: Mapping[str, Any] = {
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "temperature": 1.0,
    "top_p": 1.0,
}


@dataclass(frozen=True)
class _Part:
    """A part of an item that is streamed in pieces."""

    kind: str
    """`reasoning_text` or `output_text`, which its events are named after."""
    text: str
    pieces: Iterator[str]

    def value(self, text: str) -> dict[str, Any]:
        more: dict[str, Any] = {"annotations": []} if self.kind == "output_text" else {}
        return {"type": self.kind, "text": text, **more}


class Responses:
    """One response. A stream tells of its items one after the other, each event with its number."""

    def __init__(self, model: str, answer: Answer, fields: Fields) -> None:
        self._model = model
        self._answer = answer
        self._fields = fields
        self._id = f"resp_{token_hex(16)}"
        self._created = int(time())
        self._number = 0
        self._items: list[dict[str, Any]] = []
        """What the stream has told of, complete."""

    def whole(self) -> bytes:
        for _ in self.pieces():
            pass
        return encode(self._response(self._status(), self._items))

    def opening(self) -> bytes:
        begun = self._response("in_progress", [])
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def pieces(self) -> Iterator[bytes]:
        answer = self._answer
        if answer.reasoning:
            part = _Part("reasoning_text", answer.reasoning, cut_anywhere(answer.reasoning, answer.pieces))
            yield from self._item_of({"type": "reasoning", "id": f"rs_{token_hex(8)}", "summary": []}, part)
        if answer.text or not answer.calls:
            part = _Part("output_text", answer.text, answer.text_pieces())
            yield from self._item_of({"type": "message", "id": f"msg_{token_hex(8)}", "role": "assistant"}, part)
        for number, call in enumerate(answer.calls):
            yield from self._call_item(call, number)

    def closing(self) -> bytes:
        return b""

    def end_mark(self) -> bytes:
        status = self._status()
        return self._event(f"response.{status}", response=self._response(status, self._items))

    def _item_of(self, item: dict[str, Any], part: _Part) -> Iterator[bytes]:
        place = len(self._items)
        where = {"output_index": place, "item_id": item["id"], "content_index": 0}
        begun: dict[str, Any] = {**item, "status": "in_progress", "content": []}
        start = self._event("response.output_item.added", output_index=place, item=begun)
        start += self._event("response.content_part.added", **where, part=part.value(""))
        more: dict[str, Any] = {"logprobs": []} if part.kind == "output_text" else {}
        for piece in part.pieces:
            yield start + self._event(f"response.{part.kind}.delta", **where, delta=piece, **more)
            start = b""
        done = {**item, "status": self._status(), "content": [part.value(part.text)]}
        self._items.append(done)
        yield (
            start
            + self._event(f"response.{part.kind}.done", **where, text=part.text, **more)
            + self._event("response.content_part.done", **where, part=part.value(part.text))
            + self._event("response.output_item.done", output_index=place, item=done)
        )

    def _call_item(self, call: Called, number: int) -> Iterator[bytes]:
        place = len(self._items)
        identity = call_id(call, number, self._answer)
        item = {"type": "function_call", "id": f"fc_{token_hex(8)}", "call_id": identity, "name": call.name}
        where = {"output_index": place, "item_id": item["id"]}
        begun = {**item, "arguments": "", "status": "in_progress"}
        start = self._event("response.output_item.added", output_index=place, item=begun)
        for piece in cut_anywhere(call.text(), ARGUMENT_PIECES):
            yield start + self._event("response.function_call_arguments.delta", **where, delta=piece)
            start = b""
        done = {**item, "arguments": call.text(), "status": "completed"}
        self._items.append(done)
        finished = {**where, "name": call.name, "arguments": call.text()}
        yield self._event("response.function_call_arguments.done", **finished) + self._event(
            "response.output_item.done", output_index=place, item=done
        )

    def _event(self, kind: str, **values: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return event({"type": kind, "sequence_number": number, **values}, kind)

    def _status(self) -> str:
        return "incomplete" if self._answer.finish_reason == "length" else "completed"

    def _response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        ended = status != "in_progress"
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": self._model,
            "output": output,
            "previous_response_id": None,
            "store": False,
            "truncation": "disabled",
            **{key: self._fields.get(key, DEFAULTS.get(key)) for key in REPEATED},
            "usage": self._usage() if ended and self._answer.counted else None,
        }

    def _usage(self) -> dict[str, Any]:
        answer = self._answer
        return {
            "input_tokens": answer.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": answer.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": len(answer.reasoning.split())},
            "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        }
