"""The shape of Anthropic's messages, whole and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_hex
from typing import Any

from changeover.serving.engines.echo_answer import Answer, cut_anywhere
from changeover.serving.engines.echo_shapes import ARGUMENT_PIECES, call_id, encode, event

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class Messages:
    """One message of the assistant's. A stream tells of its blocks one after the other."""

    def __init__(self, model: str, answer: Answer) -> None:
        self._model = model
        self._answer = answer
        self._id = f"msg_{token_hex(12)}"

    def whole(self) -> bytes:
        blocks = [block for block, _ in self._blocks()]
        message = {**self._head(), "content": blocks, **self._stop()}
        return encode({**message, "usage": self._usage()} if self._answer.counted else message)

    def opening(self) -> bytes:
        empty: dict[str, Any] = {**self._head(), "content": [], "stop_reason": None, "stop_sequence": None}
        if self._answer.counted:
            empty["usage"] = {**self._usage(), "output_tokens": 0}
        return _named({"type": "message_start", "message": empty})

    def pieces(self) -> Iterator[bytes]:
        for index, (block, deltas) in enumerate(self._blocks()):
            start = _named({"type": "content_block_start", "index": index, "content_block": _emptied(block)})
            for delta in deltas:
                yield start + _named({"type": "content_block_delta", "index": index, "delta": delta})
                start = b""
            yield start + _named({"type": "content_block_stop", "index": index})

    def closing(self) -> bytes:
        ending: dict[str, Any] = {"type": "message_delta", "delta": self._stop()}
        if self._answer.counted:
            ending["usage"] = self._usage()
        return _named(ending)

    def end_mark(self) -> bytes:
        return _named({"type": "message_stop"})

    def _blocks(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Each block, and the deltas that it is streamed in."""
        answer = self._answer
        if answer.reasoning:
            deltas = [
                {"type": "thinking_delta", "thinking": piece} for piece in cut_anywhere(answer.reasoning, answer.pieces)
            ]
            yield {"type": "thinking", "thinking": answer.reasoning, "signature": ""}, deltas
        if answer.text or not answer.calls:
            deltas = [{"type": "text_delta", "text": piece} for piece in answer.text_pieces()]
            yield {"type": "text", "text": answer.text}, deltas
        for number, call in enumerate(answer.calls):
            pieces = cut_anywhere(call.text(), ARGUMENT_PIECES)
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
            identity = call_id(call, number, answer).replace("call_", "toolu_", 1)
            yield {"type": "tool_use", "id": identity, "name": call.name, "input": call.arguments}, deltas

    def _head(self) -> dict[str, Any]:
        return {"id": self._id, "type": "message", "role": "assistant", "model": self._model}

    def _stop(self) -> dict[str, Any]:
        by = self._answer.stopped_by
        reason = "stop_sequence" if by is not None else REASONS[self._answer.finish_reason]
        return {"stop_reason": reason, "stop_sequence": by}

    def _usage(self) -> dict[str, int]:
        return {"input_tokens": self._answer.prompt_tokens, "output_tokens": self._answer.completion_tokens}


def _emptied(block: dict[str, Any]) -> dict[str, Any]:
    """A block as its stream begins."""
    empty: dict[str, dict[str, Any]] = {"thinking": {"thinking": ""}, "text": {"text": ""}, "tool_use": {"input": {}}}
    return {**block, **empty[block["type"]]}


def _named(value: dict[str, Any]) -> bytes:
    return event(value, value["type"])
