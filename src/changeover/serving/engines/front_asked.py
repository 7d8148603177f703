"""What a front is asked: OpenAI's bodies, checked, as a worker takes them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from changeover.serving.engines.front_fields import Fields, Wrong, typed
from changeover.serving.engines.front_grammar import wanted_grammar

MOST_CHOICES: Final = 16
MOST_STOPS: Final = 16
MOST_TOP: Final = 20
_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})
_OWN_ARGUMENTS: Final = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "documents",
        "extra_context",
        "history",
        "max_length",
        "messages",
        "padding",
        "processor_kwargs",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "self",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)
"""What `apply_chat_template` of transformers takes by name: a template of the caller's would be a program of his."""
_NUMBERS: Final[Mapping[str, tuple[float, float]]] = {
    "temperature": (0, 100),
    "top_p": (1e-6, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 100),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
"""Fields that are numbers, with the least and the most that they may be."""


@dataclass(frozen=True, kw_only=True)
class Skills:
    """What the engine behind a front can do, as its worker's backend says."""

    grammar: bool
    top_logprobs: bool
    """Whether the likeliest tokens are known beside the one that was chosen."""
    prompt_logprobs: bool = False
    """Whether it knows them of a prompt's tokens."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One call."""

    asks: Sequence[Mapping[str, Any]]
    """For the worker; more than one where several prompts are completed."""
    choices: int
    """Of each of them."""
    stream: bool
    wants_usage: bool
    echo: Sequence[str]
    """Texts that the answers to each prompt begin with."""


def chat(fields: Fields, skills: Skills) -> Asked:
    """Read the body of `/v1/chat/completions`.

    Raises:
        Wrong: A field cannot be used.
    """
    logprobs = typed(fields, "logprobs", bool, False)
    top = _whole_number(fields, "top_logprobs", 0, MOST_TOP)
    if top and not logprobs:
        raise Wrong("`top_logprobs` needs `logprobs` to be true.", "top_logprobs")
    common = _common(fields, skills, (top or 0) if logprobs else None)
    ask = {
        "messages": _messages(fields),
        "tools": _tools(fields),
        "template": _template(fields),
        **common,
    }
    return Asked(asks=[ask], choices=common["choices"], echo=("",), **_streaming(fields))


def completions(fields: Fields, skills: Skills) -> Asked:
    """Read the body of `/v1/completions`.

    Raises:
        Wrong: A field cannot be used.
    """
    if fields.get("suffix"):
        raise Wrong("`suffix` is not supported.", "suffix")
    common = _common(fields, skills, _whole_number(fields, "logprobs", 0, MOST_TOP))
    prompts = _prompts(fields.get("prompt"))
    echo = [""] * len(prompts)
    scored = False
    if typed(fields, "echo", bool, False):
        if any("text" not in prompt for prompt in prompts):
            raise Wrong("`echo` repeats prompts that are text.", "echo")
        scored = common["logprobs"] is not None
        if scored and not skills.prompt_logprobs:
            raise Wrong("This engine knows no log-probabilities of a prompt: `echo` without `logprobs`.", "echo")
        echo = [str(prompt["text"]) for prompt in prompts]
    asks = [{**prompt, **common, "score_prompt": scored} for prompt in prompts]
    return Asked(asks=asks, choices=common["choices"], echo=echo, **_streaming(fields))


def _common(fields: Fields, skills: Skills, logprobs: int | None) -> dict[str, Any]:
    """What both calls have."""
    if logprobs and not skills.top_logprobs:
        raise Wrong(
            "This engine knows the log-probability of the chosen token only: leave `top_logprobs` out.", "logprobs"
        )
    if fields.get("logit_bias"):
        raise Wrong("`logit_bias` is not supported.", "logit_bias")
    limit = _whole_number(fields, "max_completion_tokens", 1)
    sampling: dict[str, Any] = {name: _number(fields, name, *bounds) for name, bounds in _NUMBERS.items()}
    top_k = _whole_number(fields, "top_k", -1)
    return {
        "op": "start",
        "choices": _whole_number(fields, "n", 1, MOST_CHOICES) or 1,
        "limit": limit if limit is not None else _whole_number(fields, "max_tokens", 1),
        "stop": _stops(fields.get("stop")),
        "logprobs": logprobs,
        "grammar": _grammar(fields, skills),
        "sampling": {
            **sampling,
            "temperature": 1.0 if sampling["temperature"] is None else sampling["temperature"],
            "top_k": top_k if top_k and top_k > 0 else None,
            "seed": _whole_number(fields, "seed", -(2**63), 2**63 - 1),
        },
    }


def _streaming(fields: Fields) -> dict[str, bool]:
    options: Fields = typed(fields, "stream_options", dict, {})
    return {
        "stream": typed(fields, "stream", bool, False),
        "wants_usage": typed(options, "include_usage", bool, False),
    }


def _messages(fields: Fields) -> list[dict[str, Any]]:
    given = fields.get("messages")
    if not isinstance(given, list) or not given:
        raise Wrong("`messages` must be a list with at least one message.", "messages")
    return [_message(each, f"messages[{at}]") for at, each in enumerate(cast("list[Any]", given))]


def _message(given: Any, where: str) -> dict[str, Any]:
    """A message as chat templates read it: content is text, and a call's arguments are an object."""
    if not isinstance(given, dict):
        raise Wrong(f"`{where}` must be an object.", "messages")
    message = cast("dict[str, Any]", given)
    role = message.get("role")
    if role not in _ROLES:
        raise Wrong(f"`{where}.role` must be one of {', '.join(sorted(_ROLES))}.", "messages")
    said = {**message, "role": "system" if role == "developer" else role, "content": _content(message, where)}
    calls = message.get("tool_calls")
    if calls:
        if not isinstance(calls, list):
            raise Wrong(f"`{where}.tool_calls` must be a list.", "messages")
        said["tool_calls"] = [_call(each, where) for each in cast("list[Any]", calls)]
    return {key: value for key, value in said.items() if value is not None}


def _content(message: Fields, where: str) -> str:
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    parts = cast("list[Any]", content) if isinstance(content, list) else [None]
    texts: list[str] = []
    for part in parts:
        text = cast("Fields", part).get("text") if isinstance(part, dict) else None
        if not isinstance(text, str):
            raise Wrong(f"`{where}.content` must be text: this engine takes nothing else.", "messages")
        texts.append(text)
    return "\n".join(texts)


def _call(given: Any, where: str) -> dict[str, Any]:
    function = cast("Fields", given).get("function") if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(cast("Fields", function).get("name"), str):
        raise Wrong(f"`{where}.tool_calls` must name functions.", "messages")
    said = cast("dict[str, Any]", function)
    return {**cast("dict[str, Any]", given), "function": {**said, "arguments": _arguments(said.get("arguments"))}}


def _arguments(given: Any) -> Any:
    """Templates put an object into JSON themselves; what is none stays as it is."""
    try:
        return json.loads(given) if isinstance(given, str) else given or {}
    except ValueError:
        return given


def _tools(fields: Fields) -> Sequence[Any]:
    tools: list[Any] = typed(fields, "tools", list, [])
    for at, tool in enumerate(tools):
        function = cast("Fields", tool).get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(cast("Fields", function).get("name"), str):
            raise Wrong(f"`tools[{at}]` must have a `function` with a `name`.", "tools")
    return tools


def _template(fields: Fields) -> Mapping[str, Any]:
    """Variables of the chat template; not arguments of the function that fills it in."""
    given: Fields = typed(fields, "chat_template_kwargs", dict, {})
    wrong = _OWN_ARGUMENTS & given.keys()
    if wrong:
        raise Wrong(f"`chat_template_kwargs` cannot hold `{min(wrong)}`.", "chat_template_kwargs")
    effort = {"reasoning_effort": fields["reasoning_effort"]} if fields.get("reasoning_effort") is not None else {}
    return {**effort, **given}


def _prompts(given: Any) -> list[dict[str, Any]]:
    """One prompt or several, as text or as tokens."""
    if isinstance(given, str):
        return [{"text": given}]
    many = cast("list[Any]", given) if isinstance(given, list) else []
    if many and all(type(each) is int and each >= 0 for each in many):
        return [{"tokens": many}]
    if many and len(many) <= MOST_CHOICES:
        return [prompt for each in many for prompt in _one_prompt(each)]
    raise Wrong(f"`prompt` must be text, tokens, or a list of at most {MOST_CHOICES} of them.", "prompt")


def _one_prompt(given: Any) -> list[dict[str, Any]]:
    if isinstance(given, list) and any(isinstance(each, (str, list)) for each in cast("list[Any]", given)):
        raise Wrong("`prompt` is nested too deeply.", "prompt")
    return _prompts(given)


def _grammar(fields: Fields, skills: Skills) -> Mapping[str, Any] | None:
    found = wanted_grammar(fields)
    if found is not None and not skills.grammar:
        raise Wrong("This engine holds its answers to no schema and no grammar.", "response_format")
    return found


def _stops(given: Any) -> Sequence[str]:
    many: Any = [] if given is None else [given] if isinstance(given, str) else given
    if not isinstance(many, list) or not all(isinstance(each, str) and each for each in cast("list[Any]", many)):
        raise Wrong("`stop` must be a string, or a list of strings, none of them empty.", "stop")
    if len(cast("list[Any]", many)) > MOST_STOPS:
        raise Wrong(f"`stop` has more than {MOST_STOPS} strings.", "stop")
    return cast("list[str]", many)


def _number(fields: Fields, name: str, least: float, most: float) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise Wrong(f"`{name}` must be a number.", name)
    if not least <= value <= most:
        raise Wrong(f"`{name}` must be between {least:g} and {most:g}.", name)
    return float(value)


def _whole_number(fields: Fields, name: str, least: int, most: int = 1 << 31) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise Wrong(f"`{name}` must be a whole number.", name)
    if not least <= value <= most:
        raise Wrong(f"`{name}` must be between {least} and {most}.", name)
    return value
