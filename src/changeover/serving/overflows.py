"""Refusals that mean a request is too long for a model, in the words of the engines that say it."""

from __future__ import annotations

import re
from typing import Any, Final, cast

import msgspec

from changeover.core.errors import ContextOverflow

_MOST_READ: Final = 16 << 10
"""Bytes of a refusal that are looked at."""
_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error", "context_window_exceeded"})
"""What OpenAI, llama.cpp's server and some gateways say for machines."""

_WORDS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # llama.cpp's server, by build
        r"request \((?P<prompt>\d+) tokens\) exceeds the available context size \((?P<context>\d+) tokens\)",
        r"the request exceeds the available context size",
        # the same where embeddings are made: a text that is longer than what it computes at once
        r"input \((?P<prompt>\d+) tokens\) is too large to process\. increase the physical batch size "
        r"\(current batch size: (?P<context>\d+)\)",
        # vLLM 0.32: the answer alone would be too long
        r"max_tokens=\d+ cannot be greater than max_model_len=(?P<context>\d+)",
        # vLLM 0.32, whose count ends where the context does
        r"maximum context length is (?P<context>\d+) tokens\. however, your prompt contains at least \d+ input tokens",
        # vLLM 0.5 to 0.10, DeepSeek, OpenAI: of the whole request, what stands in the messages
        r"maximum context length is (?P<context>\d+) tokens\.? however,? you requested \d+ tokens "
        r"\((?P<prompt>\d+) in (?:the messages|your prompt)",
        # vLLM from 0.11 on
        r"maximum context length is (?P<context>\d+) tokens\. however, you requested \d+ output tokens and your prompt "
        r"contains at least (?P<prompt>\d+) input tokens",
        r"you passed (?P<prompt>\d+) input tokens and requested \d+ output tokens\. however, the model'?s context length "
        r"is only (?P<context>\d+) tokens",
        r"maximum context length is (?P<context>\d+) tokens and your request has (?P<prompt>\d+) input tokens",
        r"maximum context length is (?P<context>\d+) tokens\.? however,? (?:your (?:messages|request)|you) "
        r"(?:resulted in|has|requested)(?: about)? (?P<prompt>\d+)(?: input)? tokens",
        r"maximum context length is (?P<context>\d+)",
        r"prompt \((?:total )?length (?P<prompt>\d+)\) is (?:longer than the maximum model length of|"
        r"too long to fit into the model \(context length) (?P<context>\d+)",
        # SGLang
        r"the input \((?P<prompt>\d+) tokens\) is longer than the model'?s context length \((?P<context>\d+) tokens\)",
        r"requested token count exceeds the model'?s maximum context length of (?P<context>\d+) tokens"
        r"(?:\. you requested a total of \d+ tokens: (?P<prompt>\d+) tokens from the input messages)?",
        r"input length \(?(?P<prompt>\d+)(?: tokens)?\)? exceeds (?:the )?(?:model'?s )?(?:maximum )?"
        r"(?:allowed |context )?(?:input )?length(?: of)? \(?(?P<context>\d+)",
        # TGI
        r"`?inputs`? must have less than (?P<context>\d+) tokens\. given: (?P<prompt>\d+)",
        r"`?inputs`? tokens \+ `?max_new_tokens`? must be <= (?P<context>\d+)\. given: (?P<prompt>\d+) `?inputs`? tokens",
        # llama-cpp-python, LM Studio, DashScope
        r"requested tokens \((?P<prompt>\d+)\) exceed context window of (?P<context>\d+)",
        r"trying to keep the first (?P<prompt>\d+) tokens when context the overflows\. however, the model is loaded with "
        r"context length of only (?P<context>\d+) tokens",
        r"range of input length should be \[\d+, (?P<context>\d+)\]",
        # Anthropic's form, spoken by /v1/messages
        r"prompt is too long: (?P<prompt>\d+) tokens > (?P<context>\d+) maximum",
    )
)
"""The first that is found counts, so the ones that name both numbers stand before those that name one."""


def overflow(name: str, said: bytes) -> ContextOverflow | None:
    """The error, if a refusal means that the request is too long; None if it means anything else.

    Args:
        name: The deployment's.
        said: The refusal's body.
    """
    fields = _error(said[:_MOST_READ])
    prompt, context = _number(fields.get("n_prompt_tokens")), _number(fields.get("n_ctx"))
    is_one = any(isinstance(mark, str) and mark in _CODES for mark in (fields.get("type"), fields.get("code")))
    message = _message(fields)
    for pattern in _WORDS if message else ():
        found = pattern.search(message)
        if found is not None:
            groups = found.groupdict()
            prompt, context = prompt or _number(groups.get("prompt")), context or _number(groups.get("context"))
            is_one = True
            break
    return ContextOverflow(name, prompt_tokens=prompt, context_tokens=context) if is_one else None


def _error(said: bytes) -> dict[str, Any]:
    try:
        value: Any = msgspec.json.decode(said)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"message": said.decode(errors="replace")}
    if not isinstance(value, dict):
        return {}
    fields = cast("dict[str, Any]", value)
    inner = fields.get("error")
    return cast("dict[str, Any]", inner) if isinstance(inner, dict) else fields


def _message(fields: dict[str, Any]) -> str:
    """Where engines put it; a request's own words may be repeated elsewhere in a refusal."""
    return next((fields[key] for key in ("message", "detail", "error") if isinstance(fields.get(key), str)), "")


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        return int(value)
    return value if type(value) is int and value >= 0 else None
