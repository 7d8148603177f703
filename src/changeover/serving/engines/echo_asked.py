"""What a request asks of the echo engine, read from any of the shapes that engines take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

Fields = Mapping[str, Any]

CHAT_FIELDS = frozenset(
    [
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "modalities",
        "model",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
    ]
)
"""All that OpenAI's chat completions take."""
MOST_CHOICES = 128


@dataclass(frozen=True, slots=True)
class Said:
    """One message of the conversation."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that may be called."""

    name: str
    parameters: Fields
    """JSON schema of its arguments."""


@dataclass(slots=True, kw_only=True)
class Asked:
    """One request for words, whichever way it came."""

    said: tuple[Said, ...]
    tools: tuple[Tool, ...] = ()
    choice: str = "auto"
    """`auto`, `none`, `required`, or with `named` the name of a tool."""
    named: bool = False
    shape: Fields | None = None
    """JSON schema of the answer; an empty one is any object."""
    most: int | None = None
    """Longest answer, in words."""
    stop: tuple[str, ...] = ()
    n: int = 1
    stream: bool = False
    wants_usage: bool = False
    thinks: bool = True


def fields_of(body: bytes) -> dict[str, Any]:
    """Parse a body.

    Raises:
        ValueError: It is not a JSON object.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("The body is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("The body is not a JSON object")
    return cast("dict[str, Any]", value)


def chat(fields: Fields) -> Asked:
    """Read OpenAI's chat completions."""
    said = [_said(message) for message in _listed(fields, "messages")]
    choice = fields.get("tool_choice")
    named = table(table(choice).get("function")).get("name")
    return Asked(
        said=tuple(said),
        tools=tuple(_tools(table(each).get("function") for each in listed(fields.get("tools")))),
        choice=named if isinstance(named, str) else choice if isinstance(choice, str) else "auto",
        named=isinstance(named, str),
        shape=_shape(table(fields.get("response_format")), "json_schema"),
        most=_number(fields.get("max_completion_tokens")) or _number(fields.get("max_tokens")),
        stop=_stop(fields.get("stop")),
        n=_choices(fields),
        stream=fields.get("stream") is True,
        wants_usage=table(fields.get("stream_options")).get("include_usage") is True,
        thinks=_thinks(fields),
    )


def completions(fields: Fields) -> list[Asked]:
    """Read OpenAI's legacy completions: one for each prompt."""
    return [
        Asked(
            said=(Said("user", prompt),),
            most=_number(fields.get("max_tokens")),
            stop=_stop(fields.get("stop")),
            n=_choices(fields),
            stream=fields.get("stream") is True,
            wants_usage=table(fields.get("stream_options")).get("include_usage") is True,
        )
        for prompt in texts(fields, "prompt")
    ]


def responses(fields: Fields) -> Asked:
    """Read OpenAI's responses, without their state."""
    if fields.get("previous_response_id") is not None:
        raise ValueError("'previous_response_id' is not supported: nothing is stored here")
    given = fields.get("input")
    said = [Said("user", given)] if isinstance(given, str) else [_item(each) for each in _listed(fields, "input")]
    if isinstance(fields.get("instructions"), str):
        said.insert(0, Said("system", fields["instructions"]))
    choice = fields.get("tool_choice")
    named = table(choice).get("name")
    return Asked(
        said=tuple(said),
        tools=tuple(_tools(each for each in listed(fields.get("tools")) if table(each).get("type") == "function")),
        choice=named if isinstance(named, str) else choice if isinstance(choice, str) else "auto",
        named=isinstance(named, str),
        shape=_shape(table(table(fields.get("text")).get("format")), None),
        most=_number(fields.get("max_output_tokens")),
        stream=fields.get("stream") is True,
        wants_usage=True,
        thinks=table(fields.get("reasoning")).get("effort") != "none" and _thinks(fields),
    )


def messages(fields: Fields) -> Asked:
    """Read Anthropic's messages."""
    said = [part for message in _listed(fields, "messages") for part in _blocks(message)]
    system = text_of(fields.get("system"))
    if system:
        said.insert(0, Said("system", system))
    choice = table(fields.get("tool_choice"))
    named = choice.get("name") if choice.get("type") == "tool" else None
    return Asked(
        said=tuple(said),
        tools=tuple(_tools(listed(fields.get("tools")), "input_schema")),
        choice=named if isinstance(named, str) else "required" if choice.get("type") == "any" else _word(choice),
        named=isinstance(named, str),
        most=_number(fields.get("max_tokens")),
        stop=_stop(fields.get("stop_sequences")),
        stream=fields.get("stream") is True,
        wants_usage=True,
        thinks=table(fields.get("thinking")).get("type") != "disabled",
    )


def texts(fields: Fields, key: str) -> list[str]:
    """A text, several, one of token numbers, or several of those; of numbers each stands for a word.

    Raises:
        ValueError: It is none of these.
    """
    value = fields.get(key)
    if isinstance(value, str):
        return [value]
    many = listed(value)
    if many and all(isinstance(each, str) for each in many):
        return cast("list[str]", many)
    rows: list[list[Any]] = [many] if many and isinstance(many[0], int) else [listed(each) for each in many]
    if not rows or not all(row and all(isinstance(each, int) for each in row) for row in rows):
        raise ValueError(f"'{key}' must be a text, a list of texts, a list of tokens or a list of such lists")
    return [" ".join(str(each) for each in row) for row in rows]


def text_of(content: Any) -> str:
    """A content's words; of one in parts, those of its text parts."""
    if isinstance(content, str):
        return content
    found = [table(part).get("text") for part in listed(content)]
    return "\n".join(text for text in found if isinstance(text, str))


def table(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def _listed(fields: Fields, key: str) -> list[dict[str, Any]]:
    given = listed(fields.get(key))
    if not given:
        raise ValueError(f"'{key}' is required")
    if not all(isinstance(each, dict) for each in given):
        raise ValueError(f"Each of '{key}' must be an object")
    return given


def _said(message: Fields) -> Said:
    return Said(str(message.get("role", "")), text_of(message.get("content")))


def _item(item: Fields) -> Said:
    if item.get("type") == "function_call_output":
        return Said("tool", text_of(item.get("output")))
    if item.get("type") in (None, "message"):
        return Said(str(item.get("role", "")), text_of(item.get("content")))
    return Said("assistant", text_of(item.get("arguments")))


def _blocks(message: Fields) -> list[Said]:
    role, content = str(message.get("role", "")), message.get("content")
    results = [table(each) for each in listed(content) if table(each).get("type") == "tool_result"]
    said = [Said("tool", text_of(each.get("content"))) for each in results]
    text = text_of(content)
    return [*said, Said(role, text)] if text or not said else said


def _tools(declared: Iterable[Any], schema: str = "parameters") -> list[Tool]:
    functions = [table(each) for each in declared]
    if not all(isinstance(each.get("name"), str) for each in functions):
        raise ValueError("Each of 'tools' must have a function with a name")
    return [Tool(each["name"], table(each.get(schema))) for each in functions]


def _shape(asked: Fields, inner: str | None) -> Fields | None:
    """The schema of the answer. Chat completions hold it one table deeper than responses."""
    if asked.get("type") == "json_object":
        return {}
    if asked.get("type") != "json_schema":
        return None
    schema = (table(asked.get(inner)) if inner else asked).get("schema")
    if not isinstance(schema, dict):
        raise ValueError("'response_format' of type json_schema needs a schema")
    return cast("Fields", schema)


def _thinks(fields: Fields) -> bool:
    """Whether it may think; each family has its own word for no."""
    template = table(fields.get("chat_template_kwargs"))
    asked = (template.get("enable_thinking"), template.get("thinking"), fields.get("enable_thinking"))
    return False not in asked and fields.get("reasoning_effort") != "none"


def _stop(value: Any) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else listed(value)
    return tuple(each for each in given if isinstance(each, str) and each)


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _choices(fields: Fields) -> int:
    n = fields.get("n")
    if n is None:
        return 1
    if not isinstance(n, int) or not 1 <= n <= MOST_CHOICES:
        raise ValueError(f"'n' must be a whole number from 1 to {MOST_CHOICES}")
    return n


def _word(choice: Fields) -> str:
    return "none" if choice.get("type") == "none" else "auto"
