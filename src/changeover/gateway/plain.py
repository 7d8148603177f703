"""Plain requests and plain answers, told from all others in one pass of the decoder.

Most of what goes through the door has nothing in it that a stage would have to change or refuse. To know that by one
look costs less than to let each stage look for what is its own. What is not plain is not wrong: the stages see to it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from changeover.gateway.endpoints import MOST_TOKENS, Counts

Count = Annotated[int, msgspec.Meta(ge=1)]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "user"]
    """An assistant's turn may hold reasoning, which `history` sees to; a developer's has another name for some models."""
    content: str
    name: str | None = None


class _StreamOptions(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    include_usage: bool | None = None


class _Chat(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A chat request of texts and numbers: no parts, no tools, no shape, no effort, no field that is an engine's own."""

    model: str
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    n: Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    user: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: msgspec.Raw


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Tokens
    completion_tokens: Tokens


class _Completion(msgspec.Struct, gc=False):
    model: str
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Usage


class PlainAnswer(msgspec.Struct, frozen=True, gc=False):
    """A whole chat answer that passes as it came, but for the model's name."""

    body: bytes
    counts: Counts


_read_chat = msgspec.json.Decoder(_Chat).decode
_read_completion = msgspec.json.Decoder(_Completion).decode
_encode = msgspec.json.Encoder().encode


def is_plain_chat(body: bytes) -> bool:
    """Whether a chat request holds nothing that `forbidden`, `endpoints` or `contract` would refuse or change."""
    try:
        _read_chat(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def plain_answer(body: bytes, name: str) -> PlainAnswer | None:
    """An engine's whole chat answer under the task's name, if it is complete and its tokens are counted.

    Engines write their name in one of two ways. Inside a JSON string the quotes would be escaped, so replacing these
    bytes replaces the field and never content.

    Args:
        body: As it came.
        name: Stands in `model` afterwards.
    """
    try:
        said = _read_completion(body)
        body.decode()  # the decoder does not look inside what it only passes over
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    for choice in said.choices:
        if bytes(choice.message)[:1] != b"{":
            return None
    model, own = _encode(said.model), b'"model":' + _encode(name)
    forms = [form for form in (b'"model":' + model, b'"model": ' + model) if form in body]
    if not forms:
        return None
    for form in forms:
        body = body.replace(form, own)
    return PlainAnswer(body, Counts(said.usage.prompt_tokens, said.usage.completion_tokens))
