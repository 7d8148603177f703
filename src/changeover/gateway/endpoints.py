"""The surfaces of the door: what each of OpenAI's (and Anthropic's) calls asks for, and where in an answer its facts are.

Forward, don't translate: an endpoint is asked of an engine under the path by which the caller asked, and only the few
fields that are named here are read or replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from changeover.core.errors import RequestError
from changeover.tasks.exchanges import Endpoint as EndpointName

Fields = dict[str, Any]
MOST_TOKENS = 2**31 - 1


class Counts(msgspec.Struct, frozen=True):
    """Tokens of one answer; None where the engine did not say."""

    prompt: int | None
    completion: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One kind of call."""

    name: EndpointName
    path: str
    check: Callable[[Mapping[str, Any]], None]
    """Raises RequestError, naming the field."""
    with_prompt: Callable[[Fields, str], None]
    """Puts a task's prompt into a body; the body is changed, nothing inside it."""
    first_words: Callable[[Mapping[str, Any]], str]
    """What stays the same over a conversation: callers are told apart by it where they name no user."""
    answers: str
    """The field without which an answer is none."""
    usage_keys: tuple[str, str]
    streams: bool = True
    shaped: str = ""
    """The field in which a shape for the answer is asked for; empty: there is none that is held here."""
    usage_option: bool = False
    """A stream's usage has to be asked for, with `stream_options`."""
    done: tuple[bytes, ...] = (b"data: [DONE]",)
    """A stream must hold one of these to be whole."""
    wrapped: tuple[str, ...] = ()
    """Objects inside a stream's events that may hold `model` and `usage`, besides the event itself."""
    max_tokens: tuple[str, ...] = ("max_tokens",)
    """Fields that bound the answer; the first is set where a task has a bound and the caller none."""

    def usage(self, fields: Mapping[str, Any]) -> Counts | None:
        """The tokens that an answer or event states; None if it states none."""
        usage = fields.get("usage")
        if usage is None:
            for name in self.wrapped:
                inner = fields.get(name)
                if isinstance(inner, dict):
                    usage = cast("Fields", inner).get("usage")
                    if usage is not None:
                        break
        if not isinstance(usage, dict):
            return None
        counts, (prompt_key, completion_key) = cast("Fields", usage), self.usage_keys
        prompt, completion = _count(counts.get(prompt_key)), _count(counts.get(completion_key))
        if prompt is None and completion is None:
            return None
        return Counts(prompt, completion if self.max_tokens else 0)  # a vector has no tokens

    def is_answer(self, fields: Mapping[str, Any]) -> bool:
        """Whether a stream's event is one of this endpoint's."""
        return isinstance(fields.get("type" if self.wrapped else self.answers), str if self.wrapped else list)

    def is_choice(self, choice: Mapping[str, Any]) -> bool:
        """Whether an object among an answer's is what it should be."""
        return self.name != "chat" or isinstance(choice.get("message"), dict)

    def ended(self, block: bytes) -> bool:
        """Whether a stream's end mark is in a block of whole events, and not merely inside a text."""
        if self.wrapped:  # inside a JSON string the quotes of these would be escaped
            return any(mark in block for mark in self.done)
        mark = self.done[0] + b"\n"  # a JSON string holds no raw line break
        return block.startswith(mark) or b"\n" + mark in block

    def model(self, fields: Mapping[str, Any]) -> Any:
        """What the engine calls itself in an event."""
        if "model" in fields:
            return fields["model"]
        for name in self.wrapped:
            inner = fields.get(name)
            if isinstance(inner, dict) and "model" in inner:
                return cast("Fields", inner)["model"]
        return None


def _count(value: Any) -> int | None:
    # An engine's absurd count must not become an application's bill, or overflow a column.
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def _check_messages(fields: Mapping[str, Any]) -> None:
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError("`messages` must be a list with at least one message.")
    for place, message in enumerate(cast("list[Any]", messages)):
        if not isinstance(message, dict) or not isinstance(cast("Fields", message).get("role"), str):
            raise RequestError(f"`messages[{place}]` must be an object with a `role`.")


def _check_prompt(fields: Mapping[str, Any]) -> None:
    if not isinstance(fields.get("prompt"), (str, list)):
        raise RequestError("`prompt` must be a text, or a list of texts or tokens.")


def _check_input(fields: Mapping[str, Any]) -> None:
    if not isinstance(fields.get("input"), (str, list)) or fields["input"] in ("", []):
        raise RequestError("`input` must be a text or a list that is not empty.")


_KEPT_BY_OTHERS = {
    "previous_response_id": "send the whole conversation in `input`",
    "conversation": "send the whole conversation in `input`",
    "background": "wait for the answer, or stream it",
}


def _check_response(fields: Mapping[str, Any]) -> None:
    _check_input(fields)
    for name, instead in _KEPT_BY_OTHERS.items():
        if fields.get(name) is not None and fields[name] is not False:
            raise RequestError(f"`{name}`: no response is kept between calls here; {instead}.")
    if fields.get("store") is not None and fields["store"] is not False:
        raise RequestError("`store`: no response is kept between calls here; leave it out or send false.")


def _prompt_first_message(body: Fields, prompt: str) -> None:
    # A system message of the caller's follows in the same message: many chat templates take only one.
    messages: list[Fields] = body["messages"]
    first = messages[0]
    if first["role"] in ("system", "developer"):
        content = first.get("content")
        if isinstance(content, str):
            body["messages"] = [{**first, "content": f"{prompt}\n\n{content}"}, *messages[1:]]
            return
        if isinstance(content, list):
            parts = [{"type": "text", "text": prompt}, *cast("list[Any]", content)]
            body["messages"] = [{**first, "content": parts}, *messages[1:]]
            return
    body["messages"] = [{"role": "system", "content": prompt}, *messages]


def _prompt_in_front(body: Fields, prompt: str) -> None:
    given = body["prompt"]
    if isinstance(given, str):
        body["prompt"] = f"{prompt}\n\n{given}"
    elif all(isinstance(each, str) for each in given):
        body["prompt"] = [f"{prompt}\n\n{each}" for each in given]
    # Tokens are the caller's own: a text cannot be put before them.


def _prompt_in(field: str) -> Callable[[Fields, str], None]:
    def put(body: Fields, prompt: str) -> None:
        given = body.get(field)
        if isinstance(given, list):  # Anthropic's system prompt may be a list of blocks
            body[field] = [{"type": "text", "text": prompt}, *cast("list[Any]", given)]
        else:
            body[field] = f"{prompt}\n\n{given}" if isinstance(given, str) and given else prompt

    return put


def _no_prompt(_body: Fields, _prompt: str) -> None:
    """A text that becomes a vector is not to be changed."""


def _first_user_message(fields: Mapping[str, Any]) -> str:
    for message in fields["messages"]:
        if message["role"] == "user":
            return str(message.get("content"))
    return ""


def _first_input(fields: Mapping[str, Any]) -> str:
    given = fields["input"]
    if isinstance(given, str):
        return given
    first = cast("Sequence[Any]", given)[0]
    return str(cast("Fields", first).get("content")) if isinstance(first, dict) else str(first)


def _marks(*types: bytes) -> tuple[bytes, ...]:
    """The last event's type, in the two ways that engines write JSON."""
    return tuple(b'"type":%b"%b"' % (space, name) for name in types for space in (b"", b" "))


CHAT = Endpoint(
    name="chat",
    path="/v1/chat/completions",
    check=_check_messages,
    with_prompt=_prompt_first_message,
    first_words=_first_user_message,
    answers="choices",
    usage_keys=("prompt_tokens", "completion_tokens"),
    usage_option=True,
    shaped="response_format",
    max_tokens=("max_tokens", "max_completion_tokens"),
)
COMPLETIONS = Endpoint(
    name="completions",
    path="/v1/completions",
    check=_check_prompt,
    with_prompt=_prompt_in_front,
    first_words=lambda fields: str(fields["prompt"])[:200],
    answers="choices",
    usage_keys=("prompt_tokens", "completion_tokens"),
    usage_option=True,
)
EMBEDDINGS = Endpoint(
    name="embeddings",
    path="/v1/embeddings",
    check=_check_input,
    with_prompt=_no_prompt,
    first_words=_first_input,
    answers="data",
    usage_keys=("prompt_tokens", "completion_tokens"),
    streams=False,
    max_tokens=(),
)
RESPONSES = Endpoint(
    name="responses",
    path="/v1/responses",
    check=_check_response,
    with_prompt=_prompt_in("instructions"),
    first_words=_first_input,
    answers="output",
    usage_keys=("input_tokens", "output_tokens"),
    done=_marks(b"response.completed", b"response.incomplete", b"response.failed"),
    wrapped=("response",),
    shaped="text",
    max_tokens=("max_output_tokens",),
)
MESSAGES = Endpoint(
    name="messages",
    path="/v1/messages",
    check=_check_messages,
    with_prompt=_prompt_in("system"),
    first_words=_first_user_message,
    answers="content",
    usage_keys=("input_tokens", "output_tokens"),
    done=_marks(b"message_stop"),
    wrapped=("message",),
)

ENDPOINTS: Mapping[str, Endpoint] = {each.path: each for each in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES)}
"""By path."""
