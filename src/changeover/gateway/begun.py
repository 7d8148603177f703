"""What a caller has got of a stream that broke off, and how another engine is asked to go on with it.

Read from the bytes that were passed on, and only once a stream has broken: a healthy one is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from changeover.core.errors import ConfigError, UpstreamError
from changeover.gateway.contract.effort import thinks
from changeover.gateway.contract.toolcalls.forced import is_forced
from changeover.gateway.contract.toolcalls.tools import wanted
from changeover.gateway.contract.usage import estimate_tokens
from changeover.gateway.endpoints import CHAT
from changeover.gateway.sse import events, payload
from changeover.gateway.ways import Way
from changeover.serving.profiles import Profile

Fields = dict[str, Any]

_HEAD: Final = ("id", "created", "system_fingerprint")
"""Fields of an event that stay what they were, whoever goes on."""
_ONLY_WHOLE: Final = frozenset(
    {"add_generation_prompt", "audio", "continue_final_message", "functions", "grammar", "guided_choice",
     "guided_grammar", "guided_json", "guided_regex", "json_schema", "logprobs", "prompt_logprobs", "regex",
     "response_format", "structured_outputs"}
)  # fmt: skip
"""Fields by which an answer is asked for that is one piece: a grammar would begin anew in the middle of it."""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller has got of a chat's stream: whole events, of one choice."""

    head: Mapping[str, Any]
    text: str
    """Of the answer; nothing else was said."""
    tokens: int
    """Our count of it; an engine that broke off gives none."""
    finished: bool
    """Its finish reason has come."""
    done: bool
    """Its end mark too."""

    @property
    def spoken(self) -> str:
        """The text without the white space at its end: many chat templates take that from a message."""
        return self.text.rstrip()

    def as_mine(self, fields: Fields, name: str) -> Fields:
        """An event of whoever goes on, as one of the stream that had begun.

        Raises:
            UpstreamError: It is none.
        """
        choices: list[Fields] = []
        try:
            for choice in cast("list[Fields]", fields["choices"]):
                delta: Fields = dict(choice.get("delta") or {})
                if self.head:  # it was said at the stream's beginning
                    delta.pop("role", None)
                choices.append({**choice, "delta": delta})
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise UpstreamError("The model's stream has events of an unknown shape.") from exc
        return {**fields, **self.head, "model": name, "choices": choices}


def begun_in(stream: bytes) -> Begun | None:
    """What was said in the events that were passed on; None where nobody can go on with it."""
    head: Fields = {}
    text: list[str] = []
    pieces, finished, thought = 0, False, False
    try:
        for event in events(stream):
            fields = payload(event)
            if fields is None:
                continue
            head = head or {name: fields[name] for name in _HEAD if name in fields}
            for choice in cast("list[Any]", fields.get("choices") or []):
                delta: Fields = choice.get("delta") or {}
                if choice.get("index", 0) != 0 or choice.get("logprobs") or _said_otherwise(delta):
                    return None
                thought = thought or bool(delta.get("reasoning_content") or delta.get("reasoning"))
                if delta.get("content"):
                    text.append(str(delta["content"]))
                    pieces += 1
                finished = finished or choice.get("finish_reason") is not None
    except (UpstreamError, AttributeError, TypeError):  # passed on unread, and of an odd shape
        return None
    said = "".join(text)
    if thought and not said.strip() and not finished:
        return None  # within its thoughts
    # An engine that streams token by token is counted better by that than by its letters.
    tokens = max(estimate_tokens(said), pieces)
    return Begun(head=head, text=said, tokens=tokens, finished=finished, done=CHAT.ended(stream))


def can_go_on(way: Way, body: Mapping[str, Any], begun: Begun) -> bool:
    """Whether a variant can go on with a text so that it is the same answer; before the first word anybody can."""
    if not begun.spoken:
        return True
    asked: Fields = {**way.variant.bundle.parameters, **body}
    if any(asked.get(name) for name in _ONLY_WHOLE) or is_forced(asked):
        return False
    last: Any = asked["messages"][-1]
    if last.get("role") == "assistant":
        return False  # whether the text belongs to that message depends on who began
    try:
        profile = way.profile
    except ConfigError:
        return False
    if profile.continues == "none" or (profile.reasoning != "none" and thinks(profile, asked)):
        return False
    return not wanted(asked) or profile.tool_calls in ("native", "native_or_bare")


def gone_on(profile: Profile, sent: Fields, begun: Begun) -> Fields:
    """The body, ready to be sent otherwise, that asks for the rest of an answer."""
    asked = dict(sent)
    if begun.spoken:
        asked["messages"] = [*sent["messages"], {"role": "assistant", "content": begun.spoken}]
        if profile.continues == "continue_final_message":
            asked |= {"continue_final_message": True, "add_generation_prompt": False}
    for name in CHAT.max_tokens:
        if isinstance(sent.get(name), int):
            asked[name] = max(sent[name] - begun.tokens, 1)
    return asked


def _said_otherwise(delta: Mapping[str, Any]) -> bool:
    return any(delta.get(name) for name in ("tool_calls", "function_call", "refusal", "audio"))
