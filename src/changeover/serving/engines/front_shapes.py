"""What a front answers: OpenAI's chat completions and completions, whole and in chunks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from changeover.core.ids import new_id

Said = Mapping[str, Any]
REPLACEMENT = "\ufffd"


@dataclass
class Choice:
    """One answer, as far as it has come."""

    text: str = ""
    finish: str | None = None
    tokens: int = 0
    logprobs: list[Said] = field(default_factory=list["Said"])

    def add(self, said: Said) -> None:
        self.text += said["text"]
        self.finish = said["finish"]
        self.tokens = said["tokens"]
        self.logprobs += said.get("logprobs", ())


class Shape:
    """The form of one call's answer."""

    whole_object: ClassVar[str]
    chunk_object: ClassVar[str]
    prefix: ClassVar[str]

    def __init__(self, model: str, *, logprobs: bool) -> None:
        self._head = {"id": new_id(self.prefix), "created": int(time.time()), "model": model}
        self._logprobs = logprobs

    def whole(self, choices: Sequence[Choice], usage: Said) -> Said:
        listed = [
            {"index": at, **self._message(each), **self._scores(each.logprobs), "finish_reason": each.finish}
            for at, each in enumerate(choices)
        ]
        return {**self._head, "object": self.whole_object, "choices": listed, "usage": usage}

    def chunk(self, index: int, said: Said, *, first: bool) -> Said:
        choice = {
            "index": index,
            **self._delta(said["text"], first=first),
            **self._scores(said.get("logprobs", ())),
            "finish_reason": said["finish"],
        }
        return {**self._head, "object": self.chunk_object, "choices": [choice]}

    def usage(self, usage: Said) -> Said:
        return {**self._head, "object": self.chunk_object, "choices": [], "usage": usage}

    def _message(self, choice: Choice) -> Said:
        raise NotImplementedError

    def _delta(self, text: str, *, first: bool) -> Said:
        raise NotImplementedError

    def _entries(self, entries: Sequence[Said]) -> Said:
        raise NotImplementedError

    def _scores(self, entries: Sequence[Said]) -> Said:
        return {"logprobs": self._entries(entries)} if self._logprobs else {"logprobs": None}


class ChatShape(Shape):
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"
    prefix = "chatcmpl"

    def _message(self, choice: Choice) -> Said:
        return {"message": {"role": "assistant", "content": choice.text}}

    def _delta(self, text: str, *, first: bool) -> Said:
        role = {"role": "assistant"} if first else {}
        return {"delta": {**role, "content": text} if text or first else {}}

    def _entries(self, entries: Sequence[Said]) -> Said:
        return {"content": [{**_entry(each), "top_logprobs": [_entry(top) for top in each["top"]]} for each in entries]}


class CompletionsShape(Shape):
    whole_object = "text_completion"
    chunk_object = "text_completion"
    prefix = "cmpl"

    def _message(self, choice: Choice) -> Said:
        return {"text": choice.text}

    def _delta(self, text: str, *, first: bool) -> Said:
        return {"text": text}

    def _entries(self, entries: Sequence[Said]) -> Said:
        return {
            "tokens": [each["token"] for each in entries],
            "token_logprobs": [each["logprob"] for each in entries],
            "top_logprobs": [{top["token"]: top["logprob"] for top in each["top"]} or None for each in entries],
            "text_offset": [],
        }


def _entry(said: Said) -> dict[str, Any]:
    """Bytes are only told where they are certain: part of a character has no text."""
    token: str = said["token"]
    known = REPLACEMENT not in token
    return {"token": token, "logprob": said["logprob"], "bytes": list(token.encode()) if known else None}
